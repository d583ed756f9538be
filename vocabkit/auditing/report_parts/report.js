// The page of an audit: its table of languages and tokenizers, changes between two, and sentences in pieces.

const byId = (id) => document.getElementById(id);
const state = {
  metric: null,
  text: "",
  script: "",
  group: "",
  resource: "",
  tail: "",
  hidden: new Set(),
  by: "worst",
  falling: true,
};
const fold = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const places = () => DATA.tokenizers.map((_, place) => place).filter((place) => !state.hidden.has(place));

// --- Which languages and tokenizers are shown ------------------------------------------------------

function isShown(one) {
  // Any of what is between commas, and of that every word.
  const wanted = fold(state.text)
    .split(",")
    .map((part) => part.split(/\s+/).filter(Boolean))
    .filter((words) => words.length);
  const said = fold(`${one.name} ${one.code} ${one.group}`);
  return (
    (!wanted.length || wanted.some((words) => words.every((word) => said.includes(word)))) &&
    (!state.script || one.script === state.script) &&
    (!state.group || one.group === state.group) &&
    (!state.resource || one.resource === state.resource) &&
    (!state.tail || String(one.tail) === state.tail)
  );
}

function option(value, text, chosen) {
  return html("option", { value, selected: chosen }, text);
}

function addFilter(key, label, called = (value) => value) {
  const counts = new Map();
  for (const one of DATA.languages) counts.set(String(one[key]), (counts.get(String(one[key])) || 0) + 1);
  if (counts.size < 2) return 0;
  const values = [...counts.keys()].sort(collate);
  const choice = html(
    "select",
    { id: `f-${key}` },
    option("", "all"),
    ...values.map((value) => option(value, `${called(value)} (${counts.get(value)})`)),
  );
  choice.addEventListener("change", () => {
    state[key] = choice.value;
    refresh();
  });
  byId("choices").append(html("label", null, label, choice));
  return 1;
}

function addToggles() {
  const box = byId("toggles");
  if (DATA.tokenizers.length < 2) {
    box.hidden = true;
    return;
  }
  DATA.tokenizers.forEach((name, place) => {
    const check = html("input", { type: "checkbox", checked: true });
    check.addEventListener("change", () => {
      if (check.checked) state.hidden.delete(place);
      else state.hidden.add(place);
      refresh();
    });
    const sign = svg(
      "svg",
      { width: 12, height: 12, viewBox: "-6 -6 12 12", "aria-hidden": "true" },
      drawMarker(place, 0, 0),
    );
    box.append(
      html("label", { class: "check", title: name }, check, sign, html("span", null, html("bdi", null, name))),
    );
  });
}

// --- The table -------------------------------------------------------------------------------------

function levelOf(metric, value) {
  if (value === null || metric.amount) return null;
  const past = (levels, x) => levels.filter((level) => level <= x).length;
  if (metric.unit.startsWith("share")) return past(DATA.levels.share, metric.more ? 1 - value : value);
  if (value <= 0) return metric.more ? DATA.levels.ratio.length : 0;
  return past(DATA.levels.ratio, metric.more ? metric.best / value : value / metric.best);
}

/** How bad a value is, for sorting: a lost language is worse than any, and one without a value better. */
function findBadness(metric, row, place) {
  const value = metric.values[row][place];
  if (value !== null) return metric.more ? -value : value;
  return DATA.languages[row].gaps[place] === "lost" ? Infinity : -Infinity;
}

function orderRows(metric) {
  const shown = places();
  const rows = DATA.languages.map((one, row) => ({ one, row })).filter(({ one }) => isShown(one));
  const name = (a, b) => collate(a.one.name, b.one.name);
  if (state.by === "name") return rows.sort((a, b) => (state.falling ? -name(a, b) : name(a, b)));
  const findWorst = (row) => {
    const every = shown.map((place) => findBadness(metric, row, place)),
      finite = every.filter(Number.isFinite);
    // What one tokenizer loses is ranked by what the others make of it.
    return Math.max(-Infinity, ...(finite.length ? finite : every));
  };
  const worst = ({ row }) => (state.by === "worst" ? findWorst(row) : findBadness(metric, row, state.by));
  const keyed = rows.map((item) => ({ ...item, key: worst(item) }));
  return keyed.sort((a, b) => {
    if (a.key === b.key) return name(a, b);
    if (a.key === -Infinity || b.key === -Infinity) return a.key === -Infinity ? 1 : -1;
    return state.falling ? b.key - a.key : a.key - b.key;
  });
}

/** What a cell says, and how dark it is. */
function readValue(metric, row, place) {
  const value = metric.values[row][place];
  const gap = DATA.languages[row].gaps[place];
  const note = metric.note[row][place] >= 0 ? metric.notes[metric.note[row][place]] : "";
  const isGap = value === null && gap && (gap === "failed" || note.includes("lost"));
  const level = isGap ? DATA.levels.ratio.length : levelOf(metric, value);
  return { value, note, level, text: isGap ? gap : showValue(value, metric.unit) };
}

function makeCell(metric, row, place) {
  const { value, note, level, text } = readValue(metric, row, place);
  const low = metric.low && metric.low[row][place];
  const high = metric.high && metric.high[row][place];
  const ends =
    typeof low === "number" ? `95 %: ${showValue(low, metric.unit)} to ${showValue(high, metric.unit)}` : "";
  return html(
    "td",
    {
      class: level === null ? null : `h${level}`,
      "data-value": value === null ? null : String(value),
      title: [ends, note].filter(Boolean).join("; ") || null,
    },
    text,
  );
}

function drawHeat(rows, metric) {
  const table = byId("heat"),
    shown = places();
  table.caption.replaceChildren(
    metric.label,
    " ",
    html("span", { class: "how" }, `· ${metric.of}, by language`),
  );
  const heading = (key, name, words) => {
    const sort = state.by === key ? (state.falling ? "descending" : "ascending") : null;
    const press = html(
      "button",
      { type: "button", on: { click: () => sortHeat(key) } },
      html("bdi", null, name),
    );
    return html("th", { scope: "col", class: words ? "words" : null, "aria-sort": sort, title: name }, press);
  };
  table.tHead.rows[0].replaceChildren(
    heading("name", "language", true),
    ...shown.map((place) => heading(place, DATA.tokenizers[place])),
  );
  const means = Object.entries(metric.means).map(([label, cells]) =>
    html(
      "tr",
      { class: "mean" },
      html("th", { scope: "row" }, label[0].toUpperCase() + label.slice(1)),
      ...shown.map((place) =>
        html(
          "td",
          { "data-value": cells[place][0] === null ? null : String(cells[place][0]) },
          showValue(cells[place][0], metric.unit),
          cells[place][1] ? html("span", { class: "over" }, ` (${cells[place][1]})`) : null,
        ),
      ),
    ),
  );
  const lines = rows.map(({ one, row }) =>
    html(
      "tr",
      { "data-code": one.code },
      html(
        "th",
        { scope: "row", title: `${one.code}${one.doubt ? ": " + one.doubt : ""}` },
        html("bdi", null, one.name),
        one.doubt ? html("span", { class: "warn" }, "\u00a0⚠") : null,
      ),
      ...shown.map((place) => makeCell(metric, row, place)),
    ),
  );
  const body = table.querySelector("tbody:not(.means)"),
    head = table.querySelector(".means") || html("tbody", { class: "means" });
  head.replaceChildren(...means);
  body.replaceChildren(...lines);
  if (means.length) body.before(head);
  else head.remove();
}

function sortHeat(key) {
  if (state.by === key) state.falling = !state.falling;
  else Object.assign(state, { by: key, falling: key !== "name" });
  refresh();
  const place = key === "name" ? 0 : 1 + places().indexOf(key);
  byId("heat").tHead.rows[0].cells[place].querySelector("button").focus();
}

/** Draw the table as it stands, for a paper: a shaded cell a language and tokenizer. */
function drawHeatmap(chart, width) {
  const { rows, metric } = chart.spec;
  const shown = places();
  const left = Math.max(...rows.map(({ one }) => measure(one.name)), 20) + 14;
  const wide = (width - left) / Math.max(1, shown.length);
  const image = svg("svg", { width, role: "img", "aria-label": chart.spec.title });
  shown.forEach((place, n) =>
    image.append(write(crop(DATA.tokenizers[place], wide - 8), left + (n + 0.5) * wide, 14, "", "middle")),
  );
  rows.forEach(({ one, row }, at) => {
    const y = 24 + at * 22;
    image.append(write(one.name, left - 8, y + 15, "", "end"));
    shown.forEach((place, n) => {
      const { text, level } = readValue(metric, row, place);
      const x = left + n * wide;
      if (level !== null) image.append(svg("rect", { x, y, width: wide - 1, height: 21, class: `g${level}` }));
      image.append(write(text, x + wide / 2, y + 15, level === null ? "" : `on${level}`, "middle"));
    });
  });
  image.append(write(`${metric.label}, ${metric.of}`, left, 24 + rows.length * 22 + 18, "soft"));
  return finish(image, 24 + rows.length * 22 + 28);
}

DRAW.heat = drawHeatmap;

function saveHeat(kind) {
  const metric = DATA.metrics.find((one) => one.key === state.metric);
  const figure = html(
    "figure",
    { class: "chart aside", "aria-hidden": "true" },
    html("div", { class: "plot" }),
  );
  figure.style.width = `${180 + 96 * places().length}px`;
  document.body.append(figure);
  const spec = {
    kind: "heat",
    title: `${metric.label} by language and tokenizer`,
    rows: orderRows(metric),
    metric,
  };
  charts.set(figure, { spec, near: true });
  drawChart(figure);
  saveChart(figure, kind);
  charts.delete(figure);
  figure.remove();
}

function drawLegendOfLevels(metric) {
  const box = document.querySelector(".legend");
  if (metric.amount) {
    box.replaceChildren();
    return;
  }
  const share = metric.unit.startsWith("share"),
    levels = share ? DATA.levels.share : DATA.levels.ratio;
  const against = share ? "" : metric.best === 1 ? "" : " × the best";
  const names = levels.map((level) => (share ? showTick(level, "share") : String(level)));
  const parts = ["below " + names[0], ...names.map((name) => "from " + name)];
  box.replaceChildren(
    ...parts.map((part, level) =>
      html("span", { class: `h${level}`, title: part + against }, level ? names[level - 1] : "<" + names[0]),
    ),
    html(
      "span",
      { class: "quiet" },
      `${share && metric.more ? "missing " : ""}${against || (share ? "" : "times")}`,
    ),
  );
}

function rankedSpec(rows, metric) {
  return {
    kind: "dots",
    title: `${metric.label} by language`,
    unit: metric.unit,
    axis: `${metric.of}${isLog(metric) ? ", logarithmic" : ""}`,
    log: isLog(metric),
    marks: metric.key.startsWith("premium") ? [[1, `1: ${DATA.reference}`]] : [],
    labels: rows.map(({ one }) => one.name),
    ids: rows.map(({ one }) => one.code),
    series: DATA.tokenizers.map((name, place) => ({
      name,
      values: rows.map(({ row }) => metric.values[row][place]),
      gaps: rows.map(({ one }) => one.gaps[place]),
      low: metric.low ? rows.map(({ row }) => metric.low[row][place]) : [],
      high: metric.high ? rows.map(({ row }) => metric.high[row][place]) : [],
    })),
  };
}

const isLog = (metric) => !metric.unit.startsWith("share");

// --- From one tokenizer to another -----------------------------------------------------------------

/** The change of every language between two tokenizers; turned round where it was measured the other way. */
function findChange(from, to) {
  const found = DATA.changes.find((one) => one.from === from && one.to === to);
  if (found) return found;
  const other = DATA.changes.find((one) => one.from === to && one.to === from);
  const turn = (values) => values.map((value) => (value === null ? null : 1 / (1 + value) - 1));
  return other && { values: turn(other.values), low: turn(other.high), high: turn(other.low) };
}

function drawPair(rows) {
  const from = +byId("from").value,
    to = +byId("to").value,
    change = findChange(from, to),
    figure = byId("pair");
  figure.hidden = !change;
  if (!change) {
    byId("pair-said").textContent =
      from === to ? "Choose two tokenizers." : "Nothing was measured between these two.";
    return;
  }
  const gap = (row) =>
    DATA.languages[row].gaps[to]
      ? `${DATA.languages[row].gaps[to]} by the second`
      : DATA.languages[row].gaps[from]
        ? `${DATA.languages[row].gaps[from]} by the first`
        : "";
  const sorted = rows
    .map(({ row }) => row)
    .sort((a, b) => (change.values[b] ?? Infinity) - (change.values[a] ?? Infinity) || 0);
  const names = [DATA.tokenizers[from], DATA.tokenizers[to]];
  const count = (test) => sorted.filter((row) => change.values[row] !== null && test(row)).length;
  const more = count((row) => (change.low[row] ?? change.values[row]) > 0),
    less = count((row) => (change.high[row] ?? change.values[row]) < 0);
  const unsure = count(() => true) - more - less,
    without = sorted.length - count(() => true);
  byId("pair-said").replaceChildren(
    "With ",
    html("bdi", { class: "token" }, names[1]),
    " instead of ",
    html("bdi", { class: "token" }, names[0]),
    `: fewer tokens for ${less} of ${sorted.length} languages, more for ${more}` +
      (unsure ? `, no certain difference for ${unsure}` : "") +
      (without ? `, not comparable for ${without}` : "") +
      ".",
  );
  const pick = (values) => sorted.map((row) => values[row]);
  charts.get(figure).spec = {
    kind: "bars",
    signed: true,
    title: `Change in tokens from ${names[0]} to ${names[1]}`,
    unit: "share more tokens",
    axis: `tokens of ${names[1]} ÷ tokens of ${names[0]}, less 1`,
    labels: sorted.map((row) => DATA.languages[row].name),
    ids: sorted.map((row) => DATA.languages[row].code),
    marks: [],
    series: [
      {
        name: "change",
        values: pick(change.values),
        low: pick(change.low),
        high: pick(change.high),
        gaps: sorted.map((row) => (change.values[row] === null ? gap(row) : "")),
      },
    ],
  };
  drawChart(figure);
}

// --- All of it -------------------------------------------------------------------------------------

function refresh() {
  const metric = DATA.metrics.find((one) => one.key === state.metric),
    rows = orderRows(metric);
  drawHeat(rows, metric);
  drawLegendOfLevels(metric);
  byId("meaning").replaceChildren(
    `${metric.said[0].toUpperCase()}${metric.said.slice(1)}. `,
    html("a", { href: `#m-${metric.key}` }, "What it means"),
    ". ",
    metric.notes.length === 1 && metric.note.flat().every((place) => place === 0) ? metric.notes[0] + "." : "",
  );
  const all = DATA.languages.length;
  byId("count").textContent =
    (rows.length < all ? `${rows.length} of ${all} languages` : `${all} language${all === 1 ? "" : "s"}`) +
    (state.by === "worst" && all > 1 ? ", the dearest first" : "") +
    (rows.length < all ? "; the charts below show these too" : "") +
    ".";
  const kept = new Set(rows.map(({ one }) => one.code)),
    known = new Set(DATA.languages.map((one) => one.code));
  charts.get(byId("ranked")).spec = rankedSpec(rows, metric);
  byId("ranked").querySelector("figcaption").textContent =
    `${metric.label}: ${metric.said}. ${metric.low ? "Lines are 95 % intervals. " : ""}A cross at the right edge: no value, because text is lost or failed.`;
  for (const [figure, chart] of charts) {
    const { spec } = chart;
    chart.keeps = (id) => (known.has(id) ? kept.has(id) : !(spec.kind === "stack" && state.hidden.has(+id)));
    chart.hidden =
      spec.series.length === DATA.tokenizers.length &&
      spec.series.every((one, place) => one.name === DATA.tokenizers[place])
        ? state.hidden
        : new Set();
    if (figure.id !== "pair") drawChart(figure);
  }
  if (byId("pair")) drawPair(rows);
  drawSentence();
}

// --- Sentences -------------------------------------------------------------------------------------

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join(" ");
const encoder = new TextEncoder();

/** Cut bytes into text and what is no text: the rests of characters, in hexadecimal. */
function readBytes(bytes) {
  const parts = [],
    decoder = new TextDecoder("utf-8", { fatal: true });
  for (let at = 0; at < bytes.length;) {
    const size = [4, 3, 2, 1].find((length) => {
      try {
        return Array.from(decoder.decode(Uint8Array.from(bytes.slice(at, at + length)))).length === 1;
      } catch {
        return false;
      }
    });
    const text = size ? decoder.decode(Uint8Array.from(bytes.slice(at, at + size))) : null,
      last = parts[parts.length - 1];
    if (last && (last.text === null) === (text === null)) {
      last.text = text === null ? null : last.text + text;
      last.bytes.push(...bytes.slice(at, at + (size || 1)));
    } else parts.push({ text, bytes: bytes.slice(at, at + (size || 1)) });
    at += size || 1;
  }
  return parts;
}

const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g;
const showText = (text) =>
  text
    .replace(/^ /, "\u00b7")
    .replace(/ /g, "\u00a0")
    .replace(CONTROLS, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);

function makePiece(piece, n, withBytes) {
  const part = Array.isArray(piece),
    bytes = part ? piece : [...encoder.encode(piece)];
  if (!bytes.length) return html("span", { class: "piece lost", title: "an unknown token" }, "unknown");
  const said = `${bytes.length} byte${bytes.length === 1 ? "" : "s"}: ${hex(bytes)}${part ? "; ends inside a character" : ""}`;
  const shown = part
    ? readBytes(bytes).map(({ text, bytes: raw }) =>
        text === null ? html("span", { class: "raw", dir: "ltr" }, hex(raw)) : showText(text),
      )
    : [showText(piece)];
  const whole = html("span", { class: `piece p${n % 5}${part ? " part" : ""}`, title: said }, ...shown);
  return withBytes
    ? html("span", { class: "with-bytes" }, whole, html("span", { class: "hex", dir: "ltr" }, hex(bytes)))
    : whole;
}

const isRightToLeft = (text) =>
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(
    text.replace(/[\p{N}\p{P}\p{S}\s]/gu, "").slice(0, 4),
  );

/** A language as HTML's `lang` has it: `yo-Latn` for yor_Latn. */
function writeTag(code) {
  try {
    return new Intl.Locale(code.replace("_", "-")).toString();
  } catch {
    return null;
  }
}

function makeSentence(one) {
  const spoken = DATA.languages.find(({ code }) => code === one.code),
    dir = isRightToLeft(one.text) ? "rtl" : "ltr";
  const bytes = byId("see-bytes").checked,
    lang = writeTag(one.code);
  const lines = places().map((place) => {
    const pieces = one.pieces[place],
      count = `${pieces.length} token${pieces.length === 1 ? "" : "s"}`;
    const name = DATA.tokenizers[place];
    return html(
      "div",
      { class: "cut" },
      html(
        "div",
        { class: "who" },
        html("bdi", null, name),
        html("b", null, pieces.length ? count : "not encoded"),
      ),
      html("div", { class: "pieces", dir, lang }, ...pieces.map((piece, n) => makePiece(piece, n, bytes))),
    );
  });
  return html(
    "div",
    { class: "sentence card" },
    html(
      "h3",
      null,
      html("bdi", null, spoken ? spoken.name : one.code),
      html("span", { class: "quiet" }, ` line ${one.line.toLocaleString("en")}`),
    ),
    html("p", { class: "said", dir, lang }, one.text),
    ...lines,
  );
}

function drawSentence() {
  if (!byId("see-it") || !DATA.sentences.length) return;
  const place = +byId("see-line").value,
    wanted = [byId("see-language").value, byId("see-beside").value];
  const found = [...new Set(wanted)]
    .filter(Boolean)
    .map((code) => DATA.sentences.filter((one) => one.code === code)[place]);
  byId("see-it").replaceChildren(...found.filter(Boolean).map(makeSentence));
}

function listLines() {
  const box = byId("see-line"),
    before = +box.value || 0,
    own = DATA.sentences.filter((one) => one.code === byId("see-language").value);
  const said = DATA.sentences.filter((one) => one.code === byId("see-beside").value);
  box.replaceChildren(
    ...own.map((one, n) => {
      const text = one.aligned && said[n] && said[n].line === one.line ? said[n].text : one.text,
        letters = Array.from(text);
      return option(
        n,
        letters.length > 48 ? letters.slice(0, 48).join("") + "…" : text,
        n === Math.min(before, own.length - 1),
      );
    }),
  );
}

function startSentences() {
  if (!byId("see-it") || !DATA.sentences.length) return;
  const codes = [...new Set(DATA.sentences.map((one) => one.code))];
  const names = codes
    .map((code) => ({ code, name: (DATA.languages.find((one) => one.code === code) || { name: code }).name }))
    .sort((a, b) => collate(a.name, b.name));
  const dearest = DATA.languages.map((one) => one.code).find((code) => codes.includes(code));
  const reference = (DATA.languages.find((one) => one.name === DATA.reference) || { code: "" }).code;
  byId("see-language").append(...names.map(({ code, name }) => option(code, name, code === dearest)));
  byId("see-beside").append(
    option("", "nothing"),
    ...names.map(({ code, name }) => option(code, name, code === reference && code !== dearest)),
  );
  listLines();
  for (const id of ["see-language", "see-beside"])
    byId(id).addEventListener("change", () => {
      listLines();
      drawSentence();
    });
  for (const id of ["see-line", "see-bytes"]) byId(id).addEventListener("change", drawSentence);
  byId("see-choice").hidden = false;
}

function start() {
  startSentences();
  if (!byId("heat")) {
    drawSentence();
    return;
  }
  state.metric = DATA.headline;
  const groups = new Map();
  for (const one of DATA.metrics) groups.set(one.heading, [...(groups.get(one.heading) || []), one]);
  byId("metric").append(
    ...[...groups].map(([label, listed]) =>
      html(
        "optgroup",
        { label: label || "Other" },
        ...listed.map((one) => option(one.key, one.label, one.key === state.metric)),
      ),
    ),
  );
  byId("metric").addEventListener("change", () => {
    Object.assign(state, { metric: byId("metric").value, by: "worst", falling: true });
    refresh();
  });
  byId("search").addEventListener("input", () => {
    state.text = byId("search").value;
    refresh();
  });
  const filters =
    addFilter("script", "Script") +
    addFilter("group", "Group") +
    addFilter("resource", "Resource") +
    addFilter("tail", "Tail", (value) => (value === "true" ? "tail" : "other"));
  byId("filter").hidden = !filters && DATA.tokenizers.length < 2;
  byId("filter").addEventListener("click", () => {
    const open = byId("controls").classList.toggle("open");
    byId("filters").hidden = !open;
    byId("filter").setAttribute("aria-expanded", String(open));
  });
  addToggles();
  byId("controls").hidden = false;
  const save = (kind) =>
    html("button", { type: "button", on: { click: () => saveHeat(kind) } }, `Save ${kind.toUpperCase()}`);
  byId("count").after(html("div", { class: "tools" }, save("svg"), save("png")));
  startChart(byId("ranked"), rankedSpec([], DATA.metrics[0]));
  if (byId("pair")) {
    for (const [id, chosen] of [
      ["from", 0],
      ["to", 1],
    ]) {
      byId(id).append(...DATA.tokenizers.map((name, place) => option(place, name, place === chosen)));
      byId(id).addEventListener("change", () =>
        drawPair(orderRows(DATA.metrics.find((one) => one.key === state.metric))),
      );
    }
    byId("pair-choice").hidden = false;
    startChart(byId("pair"), {
      kind: "bars",
      title: "",
      labels: [],
      series: [{ name: "", values: [] }],
      unit: "share",
    });
  }
  refresh();
}

start();
