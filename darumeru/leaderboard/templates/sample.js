// The dialog of one sample. The address after # says which one is open, so that it can be linked to.
const dialog = byId("sample");
let open = null;
let opening = 0;

function decode(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

// #task/id, both percent-encoded; a link written by hand with the task's own slashes is understood too.
function resolve(hash) {
  const [first, ...rest] = hash.slice(1).split("/");
  const exact = sampleNamed(decode(first), decode(rest.join("/")));
  if (exact !== null) return exact;
  const text = decode(hash.slice(1));
  for (const task of index.tasks) {
    if (text.startsWith(`${task.name}/`)) {
      const sample = sampleNamed(task.name, text.slice(task.name.length + 1));
      if (sample !== null) return sample;
    }
  }
  return null;
}

function sampleNamed(task, id) {
  let before = 0;
  for (const entry of index.tasks) {
    if (entry.name === task) {
      const place = entry.ids.indexOf(id);
      return place < 0 ? null : before + place;
    }
    before += entry.ids.length;
  }
  return null;
}

async function follow() {
  const turn = ++opening;
  if (!location.hash.includes("/")) {
    if (dialog.open) dialog.close();
    return;
  }
  const sample = resolve(location.hash);
  if (sample === null) {
    if (dialog.open) dialog.close();
    byId("status").textContent = say("no_sample", { name: decode(location.hash.slice(1)) });
    return;
  }
  open = sample;
  if (!("DecompressionStream" in window)) {
    byId("sample-content").replaceChildren(make("p", { text: say("broken") }));
  } else {
    const data = await load(sample);
    if (turn !== opening) return;
    drawSample(sample, data);
  }
  if (!dialog.open) dialog.showModal();
  byId("sample-content").scrollTop = 0;
  byId("sample-content").focus();
}

function drawSample(sample, data) {
  const task = index.tasks[owner[sample]];
  byId("sample-name").replaceChildren(make("bdi", { text: task.name }), " / ", make("bdi", { text: data.id }));
  const order = list();
  const place = order.indexOf(sample);
  byId("sample-previous").disabled = place <= 0;
  byId("sample-next").disabled = place === order.length - 1;
  byId("sample-content").replaceChildren(
    make("p", { classes: "flags" }, ...badges(sample)),
    ...(data.other?.prompt === undefined ? [] : texts("prompt", data.other.prompt, data.other.prompt_tokens, null, " A")),
    ...texts("prompt", data.prompt, data.prompt_tokens, data.tokens?.prompt, data.other?.prompt === undefined ? "" : " B"),
    ...(data.other ? answerParts({ ...data.other, target: data.target }, " A") : []),
    ...answerParts(data, data.other ? " B" : ""),
    make("h3", { text: say("target") }), pre(asText(data.target)),
    make("h3", { text: say("metrics") }),
    facts(Object.entries(data.metrics).map(([name, value]) => [name, data.other
      ? `A ${digits(data.other.metrics[name])}, B ${digits(value)}` : digits(value)])),
    make("h3", { text: say("facts") }), facts([
      [say("shots"), data.shots], [say("cluster"), data.cluster], [say("seconds"), data.seconds],
      ...(data.answer.finish ? [[say("finish"), data.answer.finish]] : []), [say("key"), data.key],
      ...Object.entries(data.answer.extra ?? {})]),
    make("details", {}, make("summary", { text: say("meta") }), pre(JSON.stringify(data.meta, null, 2))));
}

const digits = (value) => value === undefined ? "–" : String(Math.round(value * 1e4) / 1e4);
const asText = (value) => typeof value === "string" ? value : JSON.stringify(value, null, 2);
const pre = (text) => make("pre", { text, dir: "auto" });

function facts(pairs) {
  return make("dl", {}, ...pairs.map(([name, value]) => make("div", {},
    make("dt", {}, make("bdi", { text: name })), make("dd", {}, make("bdi", { text: String(value) })))));
}

function answerParts(data, side) {
  const { probabilities, logprobs, text, chosen, count } = data.answer;
  if (probabilities) return [make("h3", { text: say("answer") + side }), choices(probabilities, chosen, data.target)];
  if (logprobs) {
    return [make("h3", { text: say("logprobs") + side }), pre(logprobs.map((value) => value.toFixed(3)).join("  "))];
  }
  return texts("answer", text, count, data.tokens?.answer, side);
}

function choices(probabilities, chosen, target) {
  const rows = probabilities.map(([label, value]) => {
    const meter = make("meter", { min: 0, max: 1, value });
    const signs = [[label === chosen, "chosen", "partly"], [label === target, "target", "right"]].filter(([is]) => is);
    return make("tr", {}, make("td", {}, make("bdi", { text: label })),
      make("td", { classes: "number", text: value < 0.001 ? value.toExponential(1) : value.toFixed(3) }),
      make("td", {}, meter), make("td", {}, ...signs.map(([, key, look]) => make("span", {
        classes: `badge ${look}`, text: say(key) }))));
  });
  return make("table", { classes: "choices" }, make("tbody", {}, ...rows));
}

function texts(key, text, count, lengths, side) {
  const block = text.trim() === "" ? make("p", { classes: "none", text: say("empty_answer") }) : pre(text);
  const line = make("div", { classes: "line" }, make("h3", { text: say(key) + side }));
  if (count !== undefined) line.append(make("span", { classes: "interval", text: say("tokens_count", { n: count }) }));
  if (lengths && text.trim() !== "") {
    const button = make("button", { type: "button", text: say("show_tokens"), "aria-pressed": "false",
      classes: `colour-${key}` });
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      if (on) block.replaceChildren(...coloured(text, lengths));
      else block.textContent = text;
    });
    line.append(button);
  }
  return [line, block];
}

// Lengths count code points; a token that ends inside a character has length 0 and joins the next one.
function coloured(text, lengths) {
  const letters = Array.from(text);
  let [start, first] = [0, 0];
  const pieces = [];
  lengths.forEach((length, token) => {
    if (!length) return;
    const piece = letters.slice(start, start + length).join("");
    const name = first === token ? `${token + 1}` : `${first + 1}–${token + 1}`;
    pieces.push(make("span", { classes: `token token-${pieces.length % 4}`, text: piece, title: name }));
    start += length;
    first = token + 1;
  });
  return pieces;
}

function list() {
  return found.includes(open) ? found : Array.from({ length: total }, (_, sample) => sample);
}

function step(by) {
  const order = list();
  const next = order[order.indexOf(open) + by];
  if (next !== undefined) location.replace(link(next));
}

dialog.addEventListener("close", () => {
  // A link to another sample may have been followed before this event came.
  if (resolve(location.hash) === open) history.pushState(null, "", location.pathname + location.search);
  const row = document.querySelector(`tr[data-sample="${open}"] a`);
  row?.focus({ preventScroll: true });
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
byId("sample-close").addEventListener("click", () => dialog.close());
byId("sample-previous").addEventListener("click", () => step(-1));
byId("sample-next").addEventListener("click", () => step(1));
addEventListener("hashchange", follow);
// Numbers of samples move when answers come in between.
if (document.body.dataset.version) renewed.push(() => { if (dialog.open) open = resolve(location.hash); });
setLanguage(language);
if (byId("samples")) {
  search();
  follow();
}
