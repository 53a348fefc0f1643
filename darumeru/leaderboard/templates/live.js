// A served page follows its folder: it asks whether anything changed, and takes the parts that did.
const LEAST_WAIT = 2000;
let wait = LEAST_WAIT;
const renewed = [];
const served = new Map();

function address(values) {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(values)) query.set(key, value);
  return `${location.pathname}?${query}`;
}

async function fetchChunk(number) {
  const answer = await fetch(address({ chunk: number, of: document.body.dataset.version }));
  if (!answer.ok) {
    await renew();
    throw new Error("the run has moved on");
  }
  return new Uint8Array(await answer.arrayBuffer());
}

async function renew() {
  const began = performance.now();
  const answer = await fetch(location.href.split("#")[0]);
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  // A table that was not there before needs its script from the start.
  if (all("table[id]", fresh).some((table) => !byId(table.id))) return location.reload();
  for (const part of all("[data-part]")) {
    const other = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!other || other.innerHTML === served.get(part.dataset.part)) continue;
    served.set(part.dataset.part, other.innerHTML);
    part.replaceWith(document.adoptNode(other));
  }
  document.body.dataset.version = fresh.body.dataset.version;
  for (const listener of renewed) listener(fresh);
  setLanguage(language);
  wait = Math.max(LEAST_WAIT, 4 * (performance.now() - began));
}

function tell(state) {
  byId("live").dataset.state = state;
  const said = byId("live-said");
  said.dataset.t = state === "on" ? "live" : "not_live";
  said.textContent = say(said.dataset.t);
}

async function watchFolder() {
  try {
    if (!document.hidden) {
      const answer = await fetch(address({ state: 1 }));
      if (!answer.ok) throw new Error(answer.statusText);
      if ((await answer.json()).version !== document.body.dataset.version) await renew();
      tell("on");
    }
  } catch {
    tell("off");
  }
  setTimeout(watchFolder, wait);
}

setTimeout(watchFolder, wait);
