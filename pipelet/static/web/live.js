// A run in progress: the counts, the bars and the time left follow it without a reload.
const run = document.getElementById("run");
const part = (name) => run.querySelector(`[data-run="${name}"]`);
const words = new Intl.NumberFormat("en");
const narrow = (number) => words.format(number).replaceAll(",", "\u202f");
let mark = null;
let timer = 0;
let on = run.dataset.on === "yes";
let versions = run.dataset.versions;
let said = "";

function speak(text) {
  if (text !== said) part("spoken").textContent = said = text;
}

function ago(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  if (passed < 10) return "just now";
  for (const [length, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    const number = Math.floor(passed / length);
    if (number) return `${number} ${unit}${number > 1 ? "s" : ""} ago`;
  }
  return `${Math.floor(passed)} seconds ago`;
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function showTasks(now) {
  part("tasks").hidden = !now.on || !now.tasks.length;
  part("running").textContent = narrow(now.running);
  const list = part("tasks").querySelector("ul");
  // A link that has the focus stays where it is.
  const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  list.replaceChildren(...now.tasks.map((task) => {
    const item = element("li");
    const link = element("a", "", `${task.segment} `);
    link.href = task.url;
    link.append(element("span", "mono", task.input || String(task.id)));
    const rest = `${task.since ? ago(task.since) : ""}${task.host ? ` on ${task.host}` : ""}`;
    item.append(link, " ", element("span", "small faint", rest));
    return item;
  }));
  if (focused) [...list.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
}

function showHead(now) {
  run.classList.toggle("run-on", now.on);
  part("state").textContent = now.on ? "Running" : now.holder ? "The last run died" : "No run at the moment";
  part("said").textContent = now.total ? now.said : "";
  const who = now.holder && `on ${now.holder.host || "another machine"}`;
  if (on || now.on || now.holder) part("who").textContent = !who ? "" : now.on ? `${who}, pid ${now.holder.pid}, since ${ago(now.holder.since)}`.replace("since just now", "just begun").replace(/since (.*) ago/, "for $1") : `${who}; the next one goes on from there`;
  part("bar").max = now.total || 1;
  part("bar").value = now.ended;
}

function badges(cell, segment) {
  const places = [...cell.querySelectorAll("a")].map((link) => link.href);
  const held = cell.contains(document.activeElement) ? places.indexOf(document.activeElement.href) : -1;
  const tabIndex = cell.querySelector("a")?.tabIndex ?? -1;
  const made = Object.entries(segment.counts).flatMap(([status, number]) => {
    const link = element("a", `status status-${status}`, `${narrow(number)} ${status}`);
    link.href = `${cell.dataset.products}?status=${status}`;
    link.tabIndex = tabIndex;
    return [link, " "];
  });
  if (segment.waiting) {
    const waits = element("span", "status status-waiting", "waiting");
    waits.title = segment.waiting;
    made.push(waits);
  } else if (!made.length) made.push(element("span", "faint small", "no tasks"));
  cell.replaceChildren(...made);
  if (held >= 0) cell.querySelectorAll("a")[Math.min(held, cell.querySelectorAll("a").length - 1)]?.focus();
}

const SVG = "http://www.w3.org/2000/svg";

// The box was made for the numbers of its time; longer ones are squeezed into it.
function fit(box, numbers) {
  const line = box.querySelector(".numbers");
  line.textContent = numbers;
  line.removeAttribute("textLength");
  const room = box.querySelector(".body").width.baseVal.value - 24;
  if (line.getComputedTextLength() <= room) return;
  line.setAttribute("textLength", room);
  line.setAttribute("lengthAdjust", "spacingAndGlyphs");
}

function showBox(box, segment) {
  box.setAttribute("class", `box box-${segment.status}`);
  box.setAttribute("aria-label", `${segment.segment}: ${segment.numbers}`);
  box.querySelector("title").textContent = `${segment.segment}: ${segment.numbers}${segment.waiting ? `. It waits: ${segment.waiting}` : ""}`;
  fit(box, segment.numbers);
  const bar = box.querySelector("svg");
  bar.replaceChildren(bar.querySelector(".rail"), ...segment.shares.map(([status, start, width]) => {
    const piece = document.createElementNS(SVG, "rect");
    for (const [name, value] of Object.entries({ class: `fill-${status}`, x: start, width, height: 4 })) piece.setAttribute(name, value);
    return piece;
  }));
}

const drawn = new Map();

function showSegments(now) {
  for (const segment of now.segments) {
    const text = JSON.stringify(segment);
    if (drawn.get(segment.id) === text) continue;
    drawn.set(segment.id, text);
    const cell = document.querySelector(`[data-counts="${segment.id}"]`);
    if (cell) badges(cell, segment);
    const box = document.querySelector(`[data-box="${segment.id}"]`);
    if (box) showBox(box, segment);
    const numbers = document.querySelector(`[data-numbers="${segment.id}"]`);
    if (numbers) {
      numbers.textContent = segment.numbers;
      numbers.className = `status status-${segment.status === "empty" ? "queued" : segment.status}`;
    }
  }
}

// Versions came or went: the tree and the graph are taken from a newer page, what is chosen and has the focus stays.
async function renew() {
  const answer = await fetch(location.href, { credentials: "same-origin" });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const box = document.getElementById("versions");
  const chosen = new Set([...box.querySelectorAll('input[name="key"]:checked')].map((input) => input.value));
  const row = document.activeElement?.closest?.(".row[data-row]")?.dataset.row;
  const fresh = page.getElementById("versions");
  if (!fresh) return;
  box.replaceChildren(...fresh.childNodes);
  for (const input of box.querySelectorAll('input[name="key"]')) input.checked = chosen.has(input.value);
  const graph = document.getElementById("graph");
  const newer = page.getElementById("graph");
  if (newer && graph) graph.replaceChildren(...newer.childNodes);
  else if (newer) run.after(newer);
  drawn.clear();
  box.dispatchEvent(new Event("pipelet:renewed"));
  if (!row) return;
  box.querySelector(`.row[data-row="${CSS.escape(row)}"]`)?.focus();
  // It may be gone, or among the other versions now, which are reduced.
  if (document.activeElement === document.body) box.querySelector('.row[tabindex="0"]')?.focus();
}

async function look() {
  const headers = { Accept: "application/json", ...(mark ? { "If-None-Match": mark } : {}) };
  const answer = await fetch(run.dataset.live, { headers, credentials: "same-origin", cache: "no-store" });
  if (answer.status === 304) return;
  if (answer.status === 401 || answer.redirected) { part("state").textContent = "You are logged out"; on = null; return; }
  if (!answer.ok || !answer.headers.get("Content-Type")?.includes("json")) {
    part("state").textContent = "Can't be read now";
    mark = null;
    return;
  }
  mark = answer.headers.get("ETag");
  const now = await answer.json();
  if (now.versions !== versions) {
    versions = now.versions;
    await renew();
  }
  showHead(now);
  showTasks(now);
  showSegments(now);
  if (on && !now.on) speak(`The run has ended: ${now.said}.`);
  if (!on && now.on) speak("A run has begun.");
  on = now.on;
}

async function tick() {
  clearTimeout(timer);
  if (document.hidden || on === null) return;
  try {
    await look();
  } catch {
    part("state").textContent = "The server does not answer";
    mark = null;
  }
  clearTimeout(timer);
  if (on !== null) timer = setTimeout(tick, on ? 2000 : 15000);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
timer = setTimeout(tick, on ? 1000 : 15000);
