// Runs before the first paint: the chosen theme must not flash in the other colours.
try {
  const chosen = localStorage.getItem("pipelet-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage may be forbidden: then the system's theme it is */ }
