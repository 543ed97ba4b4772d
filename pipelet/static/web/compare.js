// Images that take turns in one place. Without this script they stand side by side.
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const timers = new Map();

for (const frames of document.querySelectorAll(".blink")) {
  const figures = [...frames.querySelectorAll("figure")];
  const bar = document.createElement("div");
  bar.className = "blink-bar";
  const swap = document.createElement("button");
  const play = document.createElement("button");
  swap.type = play.type = "button";
  swap.textContent = "Swap";
  bar.append(swap, play);
  frames.before(bar);
  frames.classList.add("on");
  for (const image of frames.querySelectorAll("img")) image.loading = "eager";
  let shown = 0;

  const show = (place) => {
    shown = place;
    figures.forEach((figure, at) => figure.classList.toggle("shown", at === place));
  };
  const stop = () => {
    clearInterval(timers.get(frames));
    timers.delete(frames);
    play.textContent = "Blink";
  };
  const start = () => {
    timers.set(frames, setInterval(() => show(1 - shown), 700));
    play.textContent = "Stop";
  };
  swap.addEventListener("click", () => { stop(); show(1 - shown); });
  play.addEventListener("click", () => (timers.has(frames) ? stop() : start()));
  show(0);
  if (calm) stop(); else start();
}
