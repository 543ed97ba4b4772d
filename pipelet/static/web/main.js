// What every page has: the choice of the theme, and moments told again as they get older.
const root = document.documentElement;
const button = document.getElementById("theme");
const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

function label() {
  button.textContent = dark() ? "Light" : "Dark";
}

if (button) {
  button.hidden = false;
  label();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("pipelet-theme", root.dataset.theme); } catch { /* kept for this page only */ }
    label();
  });
}

// One box at the head of a table or tree checks all the others of its form.
for (const all of document.querySelectorAll("input[data-check-all]")) {
  const boxes = () => [...all.form.querySelectorAll(`input[type=checkbox][name="${all.dataset.checkAll}"]`)];
  all.hidden = false;
  all.addEventListener("change", () => { for (const box of boxes()) if (!box.closest("[hidden]")) box.checked = all.checked; });
}
