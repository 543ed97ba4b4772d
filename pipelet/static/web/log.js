// Follows the log: asks every two seconds for what is new, as long as somebody looks.
const box = document.getElementById("follow");
const list = document.getElementById("log");
const word = document.getElementById("follow-word");
const EVERY = 2000, LATER = 15000, MOST = 2000;

if (box && list) {
  let address = box.dataset.address, waiting = null, wait = EVERY, asking = false;
  document.getElementById("follow-label").hidden = false;
  document.getElementById("reload").hidden = true;

  const add = (news) => {
    const next = new URL(address, location.href);
    next.searchParams.set("after", news.after);
    address = next.href;
    if (!news.count) return;
    const fresh = document.createElement("template");
    fresh.innerHTML = news.rows;
    for (const line of fresh.content.children) line.classList.add("log-new");
    for (const line of list.querySelectorAll(".log-new")) line.classList.remove("log-new");
    list.prepend(fresh.content);
    while (list.children.length > MOST) list.lastElementChild.remove();
    document.getElementById("log-empty")?.remove();
    word.textContent = `${news.count} new ${news.count === 1 ? "message" : "messages"}`;
  };

  const ask = async () => {
    waiting = null;
    if (asking || !box.checked || document.hidden) return;
    asking = true;
    let soon = false;
    try {
      const answer = await fetch(address, { headers: { Accept: "application/json" } });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(answer.status);
      const news = await answer.json();
      add(news);
      soon = news.more;
      if (wait !== EVERY) word.textContent = "";
      wait = EVERY;
    } catch {
      word.textContent = "The server does not answer; trying again.";
      wait = LATER;
    } finally {
      asking = false;
    }
    again(soon ? 100 : wait);
  };
  const again = (time) => { if (waiting === null && box.checked && !document.hidden) waiting = setTimeout(ask, time); };

  box.addEventListener("change", () => again(0));
  document.addEventListener("visibilitychange", () => again(0));
  again(EVERY);
}
