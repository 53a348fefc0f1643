const FLAGS = { unparsed: 1, empty: 2, truncated: 4 };

// Every sample by its number in the run; the texts stay packed until they are wanted. A task of two compared runs has
// `other`: the values, flags and answers of A beside those of B.
let index, owner, within, total;
const opened = new Map();

function takeIndex(found) {
  [index, owner, within] = [found, [], []];
  index.tasks.forEach((task, number) => task.ids.forEach((_, place) => { owner.push(number); within.push(place); }));
  total = owner.length;
  opened.clear();
}

takeIndex(JSON.parse(byId("index").textContent));

let parsed = document.readyState !== "loading";
const whole = parsed ? Promise.resolve() : new Promise((done) => {
  document.addEventListener("DOMContentLoaded", () => { parsed = true; done(); });
});

async function packed(number) {
  if (document.body.dataset.version) return fetchChunk(number);
  if (!byId(`chunk-${number}`)?.nextElementSibling) await whole;
  return Uint8Array.from(atob(byId(`chunk-${number}`).textContent.trim()), (letter) => letter.charCodeAt(0));
}

async function unpack(number) {
  if (opened.has(number)) return opened.get(number);
  const of = index;
  const bytes = await packed(number);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const samples = JSON.parse(await new Response(stream).text());
  if (of === index) opened.set(number, samples);
  if (opened.size > 12) opened.delete(opened.keys().next().value);
  return samples;
}

async function load(sample) {
  const task = index.tasks[owner[sample]];
  let [chunk, place] = [0, within[sample]];
  while (place >= task.counts[chunk]) place -= task.counts[chunk++];
  return (await unpack(task.first + chunk))[place];
}

const idOf = (sample) => index.tasks[owner[sample]].ids[within[sample]];
const link = (sample) => `#${encode(index.tasks[owner[sample]].name)}/${encode(idOf(sample))}`;

function encode(text) {
  return encodeURIComponent(text.toWellFormed?.() ?? text);
}

function resultOf(value) {
  return value === null ? "unscored" : value >= 1 ? "right" : value <= 0 ? "wrong" : "partly";
}

// What the sample is, of one run or of two: "right" is right in both.
function isResult(sample, wanted) {
  const task = index.tasks[owner[sample]];
  const [value, before] = [task.values[within[sample]], task.other?.values[within[sample]]];
  if (!task.other) return resultOf(value) === wanted;
  if (wanted === "gained") return value > before && before !== null;
  if (wanted === "lost") return value < before && value !== null;
  if (wanted === "flipped") return isResult(sample, "gained") || isResult(sample, "lost");
  return resultOf(value) === wanted && resultOf(before) === wanted;
}

function flagsOf(sample) {
  const task = index.tasks[owner[sample]];
  return task.flags[within[sample]] | (task.other?.flags[within[sample]] ?? 0);
}

function badgesOf(value, flags) {
  const result = resultOf(value);
  const found = result === "unscored" ? [] : [make("span", {
    classes: `badge ${result}`,
    text: result === "partly" ? value.toFixed(2) : say(result),
  })];
  for (const [name, bit] of Object.entries(FLAGS)) {
    if (flags & bit) found.push(make("span", { classes: `badge ${name}`, text: say(name) }));
  }
  return found;
}

function badges(sample) {
  const task = index.tasks[owner[sample]];
  const place = within[sample];
  const own = badgesOf(task.values[place], task.flags[place]);
  return task.other
    ? [make("b", { text: "A" }), ...badgesOf(task.other.values[place], task.other.flags[place]), make("br"),
      make("b", { text: "B" }), ...own]
    : own;
}

let found = [];
let page = 0;
let asked = 0;

function candidates() {
  const [task, result, bit] = [byId("task").value, byId("result").value, FLAGS[byId("flag").value] ?? 0];
  const samples = [];
  for (let sample = 0; sample < total; sample++) {
    const entry = index.tasks[owner[sample]];
    if (task && entry.name !== task) continue;
    if (result && !isResult(sample, result)) continue;
    if (bit && !(flagsOf(sample) & bit)) continue;
    samples.push(sample);
  }
  return samples;
}

// A text search unpacks one chunk after the other and lets the page breathe between them; a new question ends it.
async function search(keep) {
  const turn = ++asked;
  const before = keep === true ? page : 0;
  const parts = split(byId("search").value);
  const chosen = candidates();
  page = before;
  if (!parts.length) {
    found = chosen;
    draw();
    return;
  }
  found = [];
  draw();
  let [drawn, said] = [0, 0];
  for (let place = 0; place < chosen.length; place++) {
    const sample = await load(chosen[place]);
    if (turn !== asked) return;
    if (matches(sample, parts)) found.push(chosen[place]);
    if (performance.now() - said > 150) {
      said = performance.now();
      if (drawn < index.page) drawRows();
      drawn = found.length;
      byId("status").textContent = say("searching", { n: place + 1, total: chosen.length, found: found.length });
      await new Promise((done) => setTimeout(done));
      if (turn !== asked) return;
    }
  }
  draw();
}

function matches(sample, parts) {
  const target = typeof sample.target === "string" ? sample.target : JSON.stringify(sample.target);
  const text = fold([sample.id, sample.prompt, sample.answer.text ?? "", sample.other?.answer.text ?? "", target].join("\n"));
  return parts.every((part) => text.includes(part));
}

const preview = (label, text) => make("td", { classes: "preview", data: { label } }, make("bdi", { text }));

function drawRows() {
  const start = page * index.page;
  const rows = found.slice(start, start + index.page).map((sample) => {
    const task = index.tasks[owner[sample]];
    const place = within[sample];
    const row = make("tr", { data: { sample } },
      make("td", {},
        make("a", { href: link(sample), classes: "open" }, make("bdi", { text: task.ids[place] })),
        make("span", { classes: "interval" }, make("bdi", { text: task.name }))),
      make("td", {}, ...badges(sample)),
      ...(task.other ? [preview(`${say("answer")} A`, task.other.answers[place])] : []),
      preview(say("answer") + (task.other ? " B" : ""), task.answers[place]),
      preview(say("target"), task.targets[place]));
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a") && !getSelection().toString()) location.hash = link(sample);
    });
    return row;
  });
  byId("samples").tBodies[0].replaceChildren(...rows);
}

function draw() {
  const pages = Math.max(Math.ceil(found.length / index.page), 1);
  page = Math.min(page, pages - 1);
  drawRows();
  byId("status").textContent = say("found", { n: found.length, total });
  byId("nothing").hidden = found.length > 0;
  byId("page").textContent = say("page_of", { n: page + 1, total: pages });
  byId("previous").disabled = page === 0;
  byId("next").disabled = page === pages - 1;
  drawAbsent();
}

function drawAbsent() {
  const task = index.tasks.find((one) => one.name === byId("task").value);
  const absent = task?.absent ?? [];
  byId("absent").hidden = absent.length === 0;
  byId("absent").textContent = say("absent", { n: absent.length, names: absent.slice(0, 50).join(", ") }) +
    (absent.length > 50 ? ", …" : "");
}

function turnTo(number) {
  page = number;
  draw();
  byId("samples").scrollIntoView({ block: "nearest" });
}

if (byId("samples")) {
  let waiting = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 200);
  });
  for (const name of ["task", "result", "flag"]) byId(name).addEventListener("change", () => search());
  byId("reset").addEventListener("click", () => {
    for (const name of ["search", "task", "result", "flag"]) byId(name).value = "";
    search();
  });
  byId("previous").addEventListener("click", () => turnTo(page - 1));
  byId("next").addEventListener("click", () => turnTo(page + 1));
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".open-task");
    if (!button) return;
    byId("task").value = button.dataset.task;
    search();
    byId("samples-title").scrollIntoView();
  });
  languageListeners.push(draw);
}
if (document.body.dataset.version) {
  renewed.push((fresh) => {
    takeIndex(JSON.parse(fresh.getElementById("index").textContent));
    if (!byId("samples")) return;
    const known = new Set(all("option", byId("task")).map((option) => option.value));
    for (const { name, ids } of index.tasks) {
      if (ids.length && !known.has(name)) byId("task").append(make("option", { value: name, text: name }));
    }
    search(true);
  });
}
