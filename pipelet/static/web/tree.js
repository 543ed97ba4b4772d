// The tree of versions: expanded and reduced by keys and all at once, remembered in this tab; what is chosen is counted.
const box = document.getElementById("versions");
const tree = () => document.getElementById("tree");
const folds = () => [...box.querySelectorAll(".fold")];
const storeName = () => `pipelet-tree ${tree()?.dataset.pipeline}`;
const filtered = document.querySelector(".filtered") !== null || new URLSearchParams(location.search).has("expand");

function remembered() {
  try { return JSON.parse(sessionStorage.getItem(storeName())) ?? {}; } catch { return {}; }
}

function remember(fold) {
  if (filtered) return;
  const state = remembered();
  state[fold.dataset.fold] = fold.open;
  try { sessionStorage.setItem(storeName(), JSON.stringify(state)); } catch { /* for this page only, then */ }
}

// ---- a grid of rows that the arrow keys move in: https://www.w3.org/WAI/ARIA/apg/patterns/treegrid/

const rowOf = (element) => element?.closest(".row");
const foldOf = (row) => row?.querySelector(".fold");
const isShown = (row) => row.offsetParent !== null;
const rows = () => [...box.querySelectorAll(".tree .row:not(.head)")].filter(isShown);
const stops = (row) => [...row.querySelectorAll("a, input, summary")];
let current = null;

function expanded(row) {
  const fold = foldOf(row);
  if (fold) row.setAttribute("aria-expanded", fold.open);
}

function enter(row, focus = true) {
  if (current && current !== row) {
    current.tabIndex = -1;
    for (const stop of stops(current)) stop.tabIndex = -1;
  }
  current = row;
  row.tabIndex = 0;
  for (const stop of stops(row)) stop.tabIndex = 0;
  if (focus) row.focus();
}

function dress() {
  const grid = tree();
  if (!grid) return;
  grid.setAttribute("role", "treegrid");
  grid.setAttribute("aria-label", "Versions of the segments");
  const head = grid.querySelector(".head");
  head.removeAttribute("aria-hidden");
  head.setAttribute("role", "row");
  for (const cell of head.children) cell.setAttribute("role", "columnheader");
  head.firstElementChild.innerHTML || (head.firstElementChild.append(hidden("Choose")));
  for (const list of grid.querySelectorAll("ul, li")) {
    list.setAttribute("role", "none");
    list.removeAttribute("aria-labelledby");
  }
  const state = filtered ? {} : remembered();
  for (const row of grid.querySelectorAll(".row:not(.head)")) {
    row.setAttribute("role", "row");
    row.setAttribute("aria-level", row.dataset.level);
    row.tabIndex = -1;
    for (const cell of row.children) cell.setAttribute("role", "gridcell");
    for (const stop of stops(row)) stop.tabIndex = -1;
    const fold = foldOf(row);
    if (fold) {
      if (fold.dataset.fold in state) fold.open = state[fold.dataset.fold];
      expanded(row);
    }
  }
  current = null;
  const first = rows()[0];
  if (first) enter(first, false);
}

function hidden(text) {
  const span = document.createElement("span");
  span.className = "visually-hidden";
  span.textContent = text;
  return span;
}

function setFold(row, open) {
  const fold = foldOf(row);
  if (!fold || fold.open === open) return false;
  fold.open = open;
  return true;
}

const parentOf = (row) => row.parentElement.parentElement.closest(".node")?.firstElementChild;

function inRow(row, key, target) {
  const all = [row, ...stops(row)];
  const at = all.indexOf(target);
  const next = all[at + (key === "ArrowRight" ? 1 : -1)];
  if (next) next.focus();
}

box.addEventListener("keydown", (event) => {
  const row = rowOf(event.target);
  if (!row || row.classList.contains("head") || event.ctrlKey || event.metaKey || event.altKey) return;
  const onRow = event.target === row;
  const list = rows();
  const at = list.indexOf(row);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: list.length - 1 }[event.key];
  if (to !== undefined) {
    if (list[to]) enter(list[to]);
  } else if (event.key === "ArrowRight") {
    if (!(onRow && setFold(row, true))) inRow(row, event.key, event.target);
  } else if (event.key === "ArrowLeft") {
    if (!onRow) inRow(row, event.key, event.target);
    else if (!setFold(row, false)) { const parent = parentOf(row); if (parent) enter(parent); }
  } else if ((event.key === "+" || event.key === "-") && onRow) {
    setFold(row, event.key === "+");
  } else if (event.key === "*" && onRow) {
    const level = row.dataset.level;
    for (const other of list) if (other.dataset.level === level && parentOf(other) === parentOf(row)) setFold(other, true);
  } else if (event.key === "Enter" && onRow) {
    const link = row.querySelector(".segment");
    if (link) link.click(); else setFold(row, !foldOf(row).open);
  } else if (event.key === " " && onRow) {
    const check = row.querySelector("input[type=checkbox]");
    if (check) check.click(); else setFold(row, !foldOf(row).open);
  } else return;
  event.preventDefault();
});

box.addEventListener("focusin", (event) => {
  const row = rowOf(event.target);
  if (row && !row.classList.contains("head") && row !== current) enter(row, false);
});

// "toggle" does not bubble.
box.addEventListener("toggle", (event) => {
  if (!event.target.matches?.(".fold")) return;
  const row = rowOf(event.target);
  expanded(row);
  remember(event.target);
  if (current && !isShown(current)) enter(row, current.contains(document.activeElement));
}, true);

for (const link of document.querySelectorAll("[data-expand]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const open = link.dataset.expand === "all";
    for (const fold of folds()) fold.open = open;
  });
}

// ---- what is chosen

const form = document.getElementById("chosen");
const said = document.getElementById("how-many");

function count() {
  const chosen = form.querySelectorAll('input[name="key"]:checked').length;
  for (const button of form.querySelectorAll("button[data-wants]")) {
    button.disabled = button.dataset.wants === "2" ? chosen !== 2 : !chosen;
  }
  said.textContent = chosen ? `${chosen} chosen` : "";
}

const all = form.querySelector("[data-check-shown]");
all.hidden = false;
form.addEventListener("change", (event) => {
  if (event.target === all) {
    // What is reduced is not seen, so it is not chosen by the way.
    for (const input of form.querySelectorAll('input[name="key"]')) input.checked = all.checked && isShown(rowOf(input));
  }
  count();
});
// The browser may bring the boxes back as they were, after this.
addEventListener("pageshow", count);

// live.js puts a newer tree in place of this one.
box.addEventListener("pipelet:renewed", () => { dress(); count(); });
dress();
count();
