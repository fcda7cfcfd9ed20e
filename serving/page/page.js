// Fills in the page with what the service says of its model, and asks it for predictions.
// Everything is built as text and elements, never as markup: a label can hold any character.
"use strict";

const SHOWN_ROWS = 200;
const SHOWN_PUSHES = 8;
const at = (id) => document.getElementById(id);
let card = null;
let shownExample = 0;

function make(tag, text = "", properties = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, properties);
}

function authorization() {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function ask(path, body, type = "application/json") {
  const headers = authorization();
  if (body !== undefined) headers["Content-Type"] = type;
  const answer = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body });
  at("token-form").hidden = answer.status !== 401;
  const content = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(content.message), { problems: content.problems });
  return content;
}

// A column that may be empty is written as "this or null".
function rule(name) {
  const found = card.row.properties[name];
  const typed = found.anyOf ? found.anyOf.find((one) => one.type !== "null") : found;
  return { ...typed, nullable: Boolean(found.anyOf) };
}

function hint({ type, minimum, maximum, unit, description, nullable }) {
  const low = minimum ?? -Infinity;
  const high = maximum ?? Infinity;
  const known = (bound) => Number.isFinite(bound) && Math.abs(bound) < 2 ** 53;
  const words = [];
  if (known(low) && known(high)) words.push(`${low} to ${high}`);
  else if (known(low)) words.push(`at least ${low}`);
  else if (known(high)) words.push(`at most ${high}`);
  if (type === "integer") words.push("a whole number");
  if (unit) words.push(unit);
  if (description && description !== `in ${unit}`) words.push(description.replace(`; in ${unit}`, ""));
  if (nullable) words.push("may be empty");
  return words.join(" · ");
}

function control(name, asked) {
  const allowed = asked.type === "boolean" ? [true, false] : asked.enum;
  if (allowed) {
    const select = make("select");
    if (asked.nullable) select.append(make("option", "", { value: "" }));
    select.append(...allowed.map((value) => make("option", value, { value: JSON.stringify(value) })));
    return select;
  }
  if (asked.type !== "number" && asked.type !== "integer") return make("input", "", { type: "text" });
  const step = asked.type === "integer" ? "1" : "any";
  const input = make("input", "", { type: "number", step, inputMode: "decimal" });
  if (asked.minimum !== undefined) input.min = asked.minimum;
  if (asked.maximum !== undefined) input.max = asked.maximum;
  return input;
}

function field(name, place) {
  const asked = rule(name);
  const box = make("div", "", { className: "field" });
  const input = Object.assign(control(name, asked), { id: `field-${place}`, name });
  input.setAttribute("aria-describedby", `hint-${place} wrong-${place}`);
  box.append(
    make("label", name, { htmlFor: input.id }),
    input,
    make("span", hint(asked), { className: "hint", id: `hint-${place}` }),
    make("span", "", { className: "wrong", id: `wrong-${place}` }),
  );
  return box;
}

const inputs = () => [...at("fields").querySelectorAll("input, select")];

function fill(row) {
  for (const input of inputs()) {
    const value = row[input.name] ?? null;
    const isSelect = input.tagName === "SELECT";
    input.value = value === null ? "" : isSelect ? JSON.stringify(value) : value;
  }
  complain([]);
}

function read() {
  const row = {};
  for (const input of inputs()) {
    if (input.value === "" && !input.validity.badInput) continue;
    if (input.tagName === "SELECT") row[input.name] = JSON.parse(input.value);
    // What the browser takes for no number is refused by the service, with the column's name.
    else if (input.type === "number") row[input.name] = input.validity.badInput ? "?" : Number(input.value);
    else row[input.name] = input.value;
  }
  return row;
}

function complain(problems, message = "") {
  at("problem").textContent = message;
  for (const input of inputs()) {
    const problem = problems.find((one) => one.column === input.name);
    input.setAttribute("aria-invalid", String(Boolean(problem)));
    at(input.id.replace("field", "wrong")).textContent = problem ? problem.message : "";
  }
  const first = inputs().find((input) => input.getAttribute("aria-invalid") === "true");
  if (first) first.focus();
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function bars(entries, largest) {
  const list = make("ul", "", { className: "bars" });
  for (const { name, value, text, kind } of entries) {
    const line = make("li");
    const bar = make("span", "", { className: `bar ${kind ?? ""}` });
    bar.style.width = `${largest ? (100 * Math.abs(value)) / largest : 0}%`;
    line.append(make("span", name), bar, make("span", text, { className: "number" }));
    list.append(line);
  }
  return list;
}

function showPrediction({ label, probability, probabilities }) {
  if (!probabilities) {
    at("answer").textContent = `${card.target}: ${Number(label.toPrecision(6))}`;
    at("result").replaceChildren(make("p", at("answer").textContent));
    return;
  }
  const sorted = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  at("answer").textContent = `${label}: ${percent(probability)}`;
  at("result").replaceChildren(
    bars(sorted.map(([name, value]) => ({ name, value, text: percent(value) })), sorted[0][1]),
  );
}

function showPushes({ label, known_nothing, known_all, features, method }) {
  const isShare = Boolean(card.classes);
  const written = (value) => (isShare ? percent(value) : String(Number(value.toPrecision(4))));
  const size = (value) => (isShare ? `${(100 * value).toFixed(1)} points` : written(value));
  const signed = (value) => `${value < 0 ? "−" : "+"}${size(Math.abs(value))}`;
  const what = isShare ? `the probability of ${label}` : card.target;
  const shown = features.slice(0, SHOWN_PUSHES);
  const entries = shown.map(({ feature, value, push }) => ({
    name: `${feature} = ${String(value).slice(0, 30)}`,
    value: push,
    text: signed(push),
    kind: push < 0 ? "against" : "for",
  }));
  const rest = features.slice(SHOWN_PUSHES);
  if (rest.length) {
    const push = rest.reduce((sum, one) => sum + one.push, 0);
    entries.push({ name: `${rest.length} others`, value: push, text: signed(push), kind: push < 0 ? "against" : "for" });
  }
  at("pushes").replaceChildren(
    make("p", `From ${written(known_nothing)} with nothing known, to ${written(known_all)}: ${what}.`),
    bars(entries, Math.max(...entries.map((one) => Math.abs(one.value)))),
    make("p", `By ${method}.`, { className: "hint" }),
  );
}

async function predict(event) {
  event.preventDefault();
  const body = JSON.stringify({ dataframe_records: [read()] });
  try {
    const { predictions } = await ask("/predict", body);
    complain([]);
    showPrediction(predictions[0]);
    showPushes(await ask("/explain", body));
  } catch (error) {
    complain(error.problems ?? [], error.message);
  }
}

const quoted = (text) => (/[",\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : text);

function showFile(name, predictions) {
  const table = make("table");
  const head = make("tr");
  const hasShares = predictions[0].probability !== null && predictions[0].probability !== undefined;
  const titles = ["row", card.target, ...(hasShares ? ["probability"] : [])];
  head.append(...titles.map((title) => make("th", title, { scope: "col" })));
  table.append(make("caption", `${predictions.length} rows of ${name}`), head);
  predictions.slice(0, SHOWN_ROWS).forEach(({ label, probability }, row) => {
    const line = make("tr");
    line.append(make("td", row), make("td", label));
    if (hasShares) line.append(make("td", percent(probability)));
    table.append(line);
  });
  const box = make("div", "", { className: "scroll", tabIndex: 0 });
  box.append(table);
  const lines = predictions.map(({ label, probability }) => [quoted(String(label)), ...(hasShares ? [probability] : [])].join(","));
  const text = [titles.slice(1).map(quoted).join(","), ...lines].join("\n") + "\n";
  const link = make("a", "Download the predictions", { download: "predictions.csv" });
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const more = predictions.length > SHOWN_ROWS ? ` The first ${SHOWN_ROWS} are shown.` : "";
  const saved = make("p", more);
  saved.prepend(link);
  at("file-result").replaceChildren(saved, box);
}

async function predictFile(file) {
  if (!file) return;
  at("file-result").replaceChildren(make("p", `predicting ${file.name} …`));
  try {
    if (file.size > card.limits.body_bytes) {
      throw new Error(`${file.name} has ${file.size} bytes, and ${card.limits.body_bytes} can be sent: see "predict" in the README for larger files`);
    }
    showFile(file.name, (await ask("/predict?top=1", file, "text/csv")).predictions);
  } catch (error) {
    const list = make("ul", "", { className: "wrong" });
    list.append(...(error.problems ?? []).slice(1).map(({ row, message }) => make("li", row === null ? message : `row ${row}: ${message}`)));
    at("file-result").replaceChildren(make("p", error.message, { className: "wrong" }), list);
  }
}

async function start() {
  try {
    card = await ask("/model");
  } catch (error) {
    at("about").textContent = error.message;
    if (!at("token-form").hidden) at("token").focus();
    return;
  }
  at("title").textContent = card.version;
  document.title = `${card.target} by ${card.version}`;
  const kinds = card.classes ? `one of ${card.classes.length} classes` : "a number";
  at("about").textContent = `predicts ${card.target}, ${kinds}`;
  at("fields").replaceChildren(...card.columns.map(field));
  fill(card.examples[0] ?? {});
}

at("row").addEventListener("submit", predict);
at("clear").addEventListener("click", () => fill({}));
at("example").addEventListener("click", () => {
  shownExample += 1;
  fill(card.examples[shownExample % card.examples.length] ?? {});
});
// A link carries no token: with one, what it leads to is fetched and shown in its place.
for (const link of document.querySelectorAll("a.told")) {
  link.addEventListener("click", async (event) => {
    if (!sessionStorage.getItem("token")) return;
    event.preventDefault();
    const answer = await fetch(link.href, { headers: { ...authorization(), Accept: "text/html" } });
    const told = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = told.title;
    document.querySelector('link[href="/page/page.css"]').remove();
    document.body.replaceWith(told.body);
  });
}
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", at("token").value);
  start();
});
at("file").addEventListener("change", () => predictFile(at("file").files[0]));
for (const name of ["dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") predictFile(event.dataTransfer.files[0]);
  });
}
start();
