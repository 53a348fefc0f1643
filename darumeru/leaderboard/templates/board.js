const collator = new Intl.Collator(undefined, { numeric: true });
let table, body, headers, models, sorted, barNodes, barColumn, shapes;

function setUp() {
  table = byId("board");
  body = table.tBodies[0];
  headers = all("thead th", table);
  models = all("tr.model", body).map((row, place) => {
    const button = row.querySelector(".more");
    const about = button && byId(button.getAttribute("aria-controls"));
    button?.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      about.hidden = !open;
    });
    return { row, place, button, about, cells: [...row.cells], search: fold(row.dataset.search), shown: true };
  });
  sorted = headers.findIndex((header) => header.hasAttribute("aria-sort"));
  headers.forEach((header, place) => header.querySelector("button").addEventListener("click", () => sort(place)));
  barNodes = new Map(all("#bars .bar").map((node) => [node.dataset.key, node]));
  barColumn = Math.max(headers.findIndex((header) => header.dataset.column === table.dataset.sorted), 2);
  shapes = new Map(all("#radar .shape").map((node) => [node.dataset.key, node]));
}

function number(cell, name = "value") {
  return name in cell.dataset ? Number(cell.dataset[name]) : null;
}

// As in Table.rows: partial rows stand under all others, empty cells last, whatever the direction.
function compare(index, direction) {
  const header = headers[index];
  return (one, other) => {
    if (header.dataset.column === "name" && index === 1) {
      return direction * collator.compare(one.cells[1].dataset.name, other.cells[1].dataset.name);
    }
    const partial = one.row.classList.contains("partial") - other.row.classList.contains("partial");
    if (partial) return partial;
    const [left, right] = [number(one.cells[index]), number(other.cells[index])];
    if (left === null || right === null) return (left === null) - (right === null);
    return direction * (left - right);
  };
}

function sort(index) {
  const header = headers[index];
  const before = header.getAttribute("aria-sort");
  const chosen = before === null ? header.dataset.first : before === "ascending" ? "descending" : "ascending";
  for (const other of headers) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", chosen);
  sorted = index;
  const order = compare(index, chosen === "ascending" ? 1 : -1);
  models.sort((one, other) => order(one, other) || one.place - other.place);
  body.append(...models.flatMap((model) => model.about ? [model.row, model.about] : [model.row]));
  draw();
}

function filter() {
  const asked = split(byId("filter").value);
  const origin = byId("origin")?.value ?? "";
  for (const model of models) {
    model.shown = asked.every((part) => model.search.includes(part)) && (!origin || model.row.dataset.origin === origin);
    model.row.hidden = !model.shown;
    if (model.about) model.about.hidden = !model.shown || model.button.getAttribute("aria-expanded") !== "true";
  }
  draw();
}

function draw() {
  const shown = models.filter((model) => model.shown);
  byId("status").textContent = say("shown", { n: shown.length, total: models.length });
  byId("nothing").hidden = shown.length > 0;
  drawBars(shown);
  drawRadar(shown);
}

function drawBars(shown) {
  const picture = document.querySelector("#bars svg");
  if (!picture) return;
  // Numbers of another kind would need another scale.
  if (sorted >= 2 && headers[sorted].dataset.family === headers[barColumn].dataset.family) barColumn = sorted;
  const { low, high, start, end, top, row } = picture.dataset;
  const at = (value) => Number(start) + (Math.min(Math.max(value, low), high) - low) / (high - low) * (end - start);
  const most = Number(byId("bars-note").dataset.most);
  const drawn = shown.filter((model) => number(model.cells[barColumn]) !== null).slice(0, most);
  for (const node of barNodes.values()) node.setAttribute("display", "none");
  drawn.forEach((model, place) => {
    const node = barNodes.get(model.row.dataset.row);
    const cell = model.cells[barColumn];
    const value = number(cell);
    const [lowest, highest] = [number(cell, "low"), number(cell, "high")];
    node.removeAttribute("display");
    node.setAttribute("transform", `translate(0,${Number(top) + row * place})`);
    const fill = node.querySelector(".fill");
    fill.setAttribute("x", Math.min(at(0), at(value)));
    fill.setAttribute("width", Math.abs(at(value) - at(0)));
    const said = cell.querySelector(".value").firstChild.textContent;
    const interval = cell.querySelector(".interval")?.textContent;
    node.querySelector(".number").textContent = said;
    node.querySelector("title").textContent = `${model.cells[1].dataset.name}: ${said}` +
      (interval ? ` (${interval})` : "");
    node.querySelector(".whisker").setAttribute("d", lowest === null ? "" :
      `M${at(lowest)} 18v7M${at(lowest)} 21.5H${at(highest)}M${at(highest)} 18v7`);
  });
  const height = Number(top) + row * Math.max(drawn.length, 1) + 6;
  picture.setAttribute("viewBox", `0 0 ${picture.viewBox.baseVal.width} ${height}`);
  const column = headers[barColumn].querySelector("bdi").textContent;
  byId("bars-note").textContent = say("bars_by", { column, n: drawn.length });
}

function drawRadar(shown) {
  if (!byId("radar")) return;
  const most = Number(byId("radar").dataset.most);
  const published = (model) => model.row.dataset.origin === "published";
  const drawn = shown.filter((model) => shapes.has(model.row.dataset.row))
    .sort((one, other) => published(one) - published(other)).slice(0, most);
  for (const node of shapes.values()) node.setAttribute("display", "none");
  byId("radar-key").replaceChildren(...drawn.map((model, place) => {
    const node = shapes.get(model.row.dataset.row);
    node.setAttribute("class", `shape series-${place}`);
    node.removeAttribute("display");
    return make("li", { classes: `series-${place}` }, make("bdi", { text: model.cells[1].dataset.name }));
  }));
  byId("radar-note").textContent = say("radar_note", { n: drawn.length });
}

function show(kind) {
  table.dataset.show = kind;
}

if (byId("board")) {
  setUp();
  byId("filter").addEventListener("input", filter);
  byId("origin")?.addEventListener("change", filter);
  byId("columns")?.addEventListener("change", (event) => show(event.target.value));
  languageListeners.push(draw);
  if (document.body.dataset.version) {
    renewed.push(() => {
      const [column, direction] = [headers[sorted]?.dataset.column, headers[sorted]?.getAttribute("aria-sort")];
      if (body.isConnected) return;
      setUp();
      show(byId("columns")?.value ?? "");
      const place = headers.findIndex((header) => header.dataset.column === column);
      while (place >= 0 && headers[place].getAttribute("aria-sort") !== direction) sort(place);
      filter();
    });
  }
}
setLanguage(language);
