const index = JSON.parse(byId("index").textContent);
const FLAGS = { unparsed: 1, empty: 2, truncated: 4 };

// Every sample by its number in the run; the texts stay packed until they are wanted.
const owner = [];
const within = [];
index.tasks.forEach((task, number) => task.ids.forEach((_, place) => { owner.push(number); within.push(place); }));
const total = owner.length;

let parsed = document.readyState !== "loading";
const whole = parsed ? Promise.resolve() : new Promise((done) => {
  document.addEventListener("DOMContentLoaded", () => { parsed = true; done(); });
});
const opened = new Map();

async function unpack(number) {
  if (opened.has(number)) return opened.get(number);
  if (!byId(`chunk-${number}`)?.nextElementSibling) await whole;
  const bytes = Uint8Array.from(atob(byId(`chunk-${number}`).textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const samples = JSON.parse(await new Response(stream).text());
  opened.set(number, samples);
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

function resultOf(sample) {
  const value = index.tasks[owner[sample]].values[within[sample]];
  return value === null ? "unscored" : value >= 1 ? "right" : value <= 0 ? "wrong" : "partly";
}

function badges(sample) {
  const task = index.tasks[owner[sample]];
  const value = task.values[within[sample]];
  const result = resultOf(sample);
  const found = result === "unscored" ? [] : [make("span", {
    classes: `badge ${result}`,
    text: result === "partly" ? value.toFixed(2) : say(result),
  })];
  for (const [name, bit] of Object.entries(FLAGS)) {
    if (task.flags[within[sample]] & bit) found.push(make("span", { classes: `badge ${name}`, text: say(name) }));
  }
  return found;
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
    if (result && resultOf(sample) !== result) continue;
    if (bit && !(entry.flags[within[sample]] & bit)) continue;
    samples.push(sample);
  }
  return samples;
}

// A text search unpacks one chunk after the other and lets the page breathe between them; a new question ends it.
async function search() {
  const turn = ++asked;
  const parts = split(byId("search").value);
  const chosen = candidates();
  page = 0;
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
  const text = fold([sample.id, sample.prompt, sample.answer.text ?? "", target].join("\n"));
  return parts.every((part) => text.includes(part));
}

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
      make("td", { classes: "preview", data: { label: say("answer") } }, make("bdi", { text: task.answers[place] })),
      make("td", { classes: "preview", data: { label: say("target") } }, make("bdi", { text: task.targets[place] })));
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
  for (const name of ["task", "result", "flag"]) byId(name).addEventListener("change", search);
  byId("reset").addEventListener("click", () => {
    for (const name of ["search", "task", "result", "flag"]) byId(name).value = "";
    search();
  });
  byId("previous").addEventListener("click", () => turnTo(page - 1));
  byId("next").addEventListener("click", () => turnTo(page + 1));
  for (const button of all(".open-task")) {
    button.addEventListener("click", () => {
      byId("task").value = button.dataset.task;
      search();
      byId("samples-title").scrollIntoView();
    });
  }
  languageListeners.push(draw);
}
