"use strict";
// What every page can do: themes, sorted tables, and charts drawn at the width there is. Without scripts the
// tables stand as they were written, worst first.

const SVG = "http://www.w3.org/2000/svg";
const MISSING = "–";
const COUNTED = ["pieces", "languages", "tokens", "parameters", "characters", "words", "lines", "rows"];
const DATA = document.getElementById("data") ? JSON.parse(document.getElementById("data").textContent) : null;
const collate = new Intl.Collator("en", { numeric: true }).compare;

// --- Elements and values ---------------------------------------------------------------------------

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") for (const [name, act] of Object.entries(value)) element.addEventListener(name, act);
    else element.setAttribute(key, value === true ? "" : typeof value === "number" ? +value.toFixed(2) : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function html(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function showValue(value, unit) {
  if (value === null || value === undefined) return MISSING;
  if (unit.startsWith("share")) {
    const percent = 100 * value;
    const number = percent === 0 || percent >= 99.95 ? percent.toFixed(0) : String(+percent.toPrecision(3));
    return number + "\u00a0%";
  }
  if (Math.abs(value) >= 1000 || (Number.isInteger(value) && COUNTED.includes(unit))) {
    return Math.round(value).toLocaleString("en");
  }
  return Math.abs(value) >= 1 || value === 0 ? value.toFixed(2) : String(+value.toPrecision(3));
}

function showTick(value, unit) {
  if (unit.startsWith("share")) return +(100 * value).toPrecision(6) + "\u00a0%";
  for (const [size, letter] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (Math.abs(value) >= Math.max(size, 1e4)) return +(value / size).toPrecision(6) + letter;
  }
  return Math.abs(value) >= 1000 ? value.toLocaleString("en") : String(+value.toPrecision(6));
}

const pen = document.createElement("canvas").getContext("2d"),
  widths = new Map();
pen.font = "12px " + getComputedStyle(document.body).fontFamily;
function measure(text) {
  if (!widths.has(text)) widths.set(text, pen.measureText(text).width);
  return widths.get(text);
}

function crop(text, width) {
  if (measure(text) <= width) return text;
  let letters = Array.from(text);
  while (letters.length > 1 && measure(letters.join("") + "…") > width) letters = letters.slice(0, -1);
  return letters.join("") + "…";
}

// --- Themes ----------------------------------------------------------------------------------------

const THEMES = { "": "as the system", light: "light", dark: "dark" };

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  const button = document.getElementById("theme");
  const [sign, word] = theme === "dark" ? ["☾", "Dark"] : theme === "light" ? ["☀", "Light"] : ["◐", "Auto"];
  button.replaceChildren(sign, html("span", null, ` ${word}`));
  button.setAttribute("aria-label", `Theme: ${THEMES[theme]}; press to change`);
  try {
    localStorage.setItem("theme", theme);
  } catch {
    /* A page from a disk may have no storage. */
  }
}

function startThemes() {
  let theme = "";
  try {
    theme = localStorage.getItem("theme") || "";
  } catch {
    /* as above */
  }
  setTheme(theme in THEMES ? theme : "");
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    setTheme(names[(names.indexOf(document.documentElement.dataset.theme || "") + 1) % names.length]);
  });
}

// --- Tables ----------------------------------------------------------------------------------------
// The first press sorts text from A to Z and numbers from the largest; a second turns the order round. What
// has no value stays last.

function readCell(row, column) {
  const cell = row.cells[column],
    text = cell.textContent.trim();
  const number = cell.dataset.value !== undefined ? +cell.dataset.value : parseFloat(text.replace(/,/g, ""));
  const value = cell.dataset.value !== undefined || /^[-−]?[\d.]/.test(text) ? number : NaN;
  return { text, value, empty: text === "" || text.startsWith(MISSING) };
}

function sortBy(table, heading) {
  const column = heading.cellIndex,
    body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, cell: readCell(row, column) }));
  const known = rows.filter((one) => !one.cell.empty);
  const numbers =
    known.length > 0 && known.every((one) => !Number.isNaN(one.cell.value) || one.cell.text === "lost");
  const before = heading.getAttribute("aria-sort");
  const falling = before ? before === "ascending" : numbers;
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  // What is lost is worse than any number.
  const key = (cell) => (Number.isNaN(cell.value) ? Infinity : cell.value);
  const order = (a, b) => (numbers ? Math.sign(key(a) - key(b)) || 0 : collate(a.text, b.text));
  rows.sort((a, b) => {
    if (a.cell.empty !== b.cell.empty) return a.cell.empty ? 1 : -1;
    return falling ? order(b.cell, a.cell) : order(a.cell, b.cell);
  });
  body.append(...rows.map((item) => item.row));
}

function startTable(table) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = html("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, heading));
  }
}

// --- Scales ----------------------------------------------------------------------------------------

class Scale {
  constructor(values, log, start, end, { zero = false, room = 0.04 } = {}) {
    const kept = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
    let low = Math.min(...kept),
      high = Math.max(...kept);
    if (!kept.length) [low, high] = log ? [1, 10] : [0, 1];
    if (log) {
      // Less than a fifth between the ends would blow up differences that mean nothing.
      const wide = Math.max(1.03, Math.sqrt((1.2 * low) / high));
      [low, high] = [low / wide, high * wide];
    } else {
      if (zero) [low, high] = [Math.min(0, low), Math.max(0, high)];
      const span = high - low || Math.abs(high) || 1;
      [low, high] = [zero && low === 0 ? 0 : low - span * room, zero && high === 0 ? 0 : high + span * room];
    }
    Object.assign(this, { low, high, log, start, end });
  }

  place(value) {
    const on = (x) => (this.log ? Math.log(x) : x);
    const part = (on(value) - on(this.low)) / (on(this.high) - on(this.low));
    return this.start + Math.min(1, Math.max(0, part)) * (this.end - this.start);
  }

  ticks(most) {
    const found = this.log ? this.logTicks(most) : [];
    if (found.length >= 2) return found;
    const raw = (this.high - this.low) / most,
      size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((digit) => digit * size).find((one) => one >= raw * 0.999);
    const first = Math.ceil(this.low / step - 1e-9),
      count = Math.floor(this.high / step + 1e-9) - first;
    return Array.from({ length: count + 1 }, (_, n) => +((first + n) * step).toPrecision(12));
  }

  logTicks(most) {
    let best = [];
    for (const digits of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]]) {
      const found = [];
      for (let n = Math.floor(Math.log10(this.low)); n <= Math.log10(this.high); n += 1) {
        for (const digit of digits) found.push(+(digit * 10 ** n).toPrecision(3));
      }
      const kept = found.filter((value) => value >= this.low && value <= this.high);
      if (kept.length <= most) best = kept;
    }
    return best;
  }
}

// --- Charts ----------------------------------------------------------------------------------------
// Series are told apart by shape as well as by colour. The page may hide series and rows: `hidden` are places
// of series, `keeps` says whether a row's id is shown.

const charts = new Map();
const SHAPES = [
  "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
  "M-3.5,-3.5h7v7h-7z",
  "M0,-4.6L4.6,3.4H-4.6z",
  "M0,-5L5,0L0,5L-5,0z",
  "M-1.4,-4.6h2.8v3.2h3.2v2.8h-3.2v3.2h-2.8v-3.2h-3.2v-2.8h3.2z",
  "M0,4.6L4.6,-3.4H-4.6z",
  "M-5,-1.6h10v3.2h-10z",
  "M-1.6,-5h3.2v10h-3.2z",
];
const CROSS = "M-3.5,-3.5L3.5,3.5M3.5,-3.5L-3.5,3.5",
  ARROW = "M4,-4L-4,0L4,4";
const RIGHT = 16;

const title = (text) => svg("title", null, text);
const write = (text, x, y, cls = "", anchor = "start") =>
  svg("text", { x, y, class: cls, "text-anchor": anchor, direction: "ltr" }, text);
const rule = (x1, y1, x2, y2, cls) => svg("line", { x1, y1, x2, y2, class: cls });

function drawMarker(place, x, y) {
  const shape = SHAPES[(place + Math.floor(place / 8)) % 8];
  return svg("path", {
    d: shape,
    class: `f${place % 8} halo`,
    transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
  });
}

function drawSign(shape, place, x, y, turn = 0) {
  const where = `translate(${x.toFixed(1)},${y.toFixed(1)})` + (turn ? ` rotate(${turn})` : "");
  return svg("path", { d: shape, fill: "none", "stroke-width": 1.8, class: `l${place % 8}`, transform: where });
}

/** Draw the names of series from the left, in as many lines as it takes, and return where they end. */
function drawLegend(image, names, width, square) {
  if (names.length < 2) return 4;
  let x = 6,
    y = 10;
  for (const { name, place } of names) {
    const said = crop(name, width - 30),
      wide = measure(said) + 34;
    if (x > 6 && x + wide > width) [x, y] = [6, y + 19];
    image.append(
      square
        ? svg("rect", { x: x - 5, y: y - 5, width: 10, height: 10, class: `f${place % 8}` })
        : drawMarker(place, x, y),
      write(said, x + 10, y + 4),
    );
    x += wide;
  }
  return y + 14;
}

function drawAxis(image, scale, top, bottom, name, unit, width, signed) {
  const most = Math.max(2, Math.floor((scale.end - scale.start) / 62));
  for (const value of scale.ticks(most)) {
    const x = scale.place(value);
    const said = (signed && value > 0 ? "+" : "") + showTick(value, unit),
      beyond = x + measure(said) / 2 > width;
    image.append(
      rule(x, top, x, bottom, "grid"),
      write(said, beyond ? width : x, bottom + 16, "soft", beyond ? "end" : "middle"),
    );
  }
  image.append(write(crop(name, width - 8), width - 4, bottom + 34, "soft", "end"));
}

function drawMarks(image, marks, scale, top, bottom) {
  const placed = (marks || []).map(([value, name]) => ({ x: scale.place(value), name, wide: measure(name) }));
  placed.forEach(({ x, name, wide }, n) => {
    const near = (other) => other && Math.abs(other.x - x) < (other.wide + wide) / 2 + 8;
    const anchor = near(placed[n + 1]) ? "end" : near(placed[n - 1]) || x - wide / 2 < 0 ? "start" : "middle";
    image.append(rule(x, top - 2, x, bottom, "ref"), write(name, x, top - 6, "soft", anchor));
  });
}

function listShown(chart) {
  const { spec } = chart;
  const rows = (spec.labels || []).map((label, row) => ({ label, row, id: (spec.ids || [])[row] }));
  const series = spec.series.map((one, place) => ({ ...one, place }));
  return {
    rows: rows.filter(({ id }) => !chart.keeps || id === undefined || chart.keeps(id)),
    series: series.filter(({ place }) => !chart.hidden.has(place)),
  };
}

function startRows(chart, width) {
  const { spec } = chart,
    shown = listShown(chart);
  const left = Math.min(Math.max(40, ...shown.rows.map(({ label }) => measure(label))) + 14, width * 0.36);
  const image = svg("svg", { width, role: "img", "aria-label": spec.title });
  return { ...shown, spec, left, image };
}

function finish(image, height) {
  image.setAttribute("height", Math.ceil(height));
  image.setAttribute("viewBox", `0 0 ${image.getAttribute("width")} ${Math.ceil(height)}`);
  return image;
}

function drawName(image, label, left, y) {
  image.append(
    svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, title(label), crop(label, left - 12)),
  );
}

/** A row a label with a marker a series, an interval behind it; a cross at the end where nothing is known. */
function drawDots(chart, width) {
  const { rows, series, spec, left, image } = startRows(chart, width);
  const top = drawLegend(image, series, width, false) + ((spec.marks || []).length ? 16 : 4);
  const apart = rows.length <= 40 && series.length > 1 ? 8 : 0,
    step = Math.max(22, series.length * apart + 10);
  const bottom = top + rows.length * step;
  const every = series.flatMap((one) =>
    rows.flatMap(({ row }) => [one.values[row], (one.low || [])[row], (one.high || [])[row]]),
  );
  const marked = (spec.marks || []).map(([value]) => value);
  const scale = new Scale(
    [...every, ...marked].filter((value) => typeof value === "number"),
    spec.log,
    left + 10,
    width - RIGHT - 10,
    { zero: !spec.log },
  );
  rows.forEach((_, n) => {
    if (n % 2) image.append(svg("rect", { x: 0, y: top + n * step, width, height: step, class: "stripe" }));
  });
  drawAxis(image, scale, top, bottom, spec.axis, spec.unit, width);
  drawMarks(image, spec.marks, scale, top, bottom);
  rows.forEach(({ label, row }, n) => {
    const middle = top + (n + 0.5) * step;
    drawName(image, label, left, middle);
    series.forEach((one, turn) => {
      const y = middle + (turn - (series.length - 1) / 2) * apart,
        value = one.values[row];
      const low = (one.low || [])[row],
        high = (one.high || [])[row],
        gap = (one.gaps || [])[row];
      const group = svg("g", null);
      let said = `${label}, ${one.name}: ${gap || showValue(value, spec.unit)}`;
      if (value === null || value === undefined) {
        if (!gap) return;
        group.append(drawSign(CROSS, one.place, spec.more ? left + 4 : width - RIGHT, y));
      } else if (spec.log && value <= 0) group.append(drawSign(ARROW, one.place, left + 4, y));
      else {
        if (typeof low === "number" && typeof high === "number") {
          said += ` (95 %: ${showValue(low, spec.unit)} to ${showValue(high, spec.unit)})`;
          const from = spec.log ? Math.max(low, scale.low) : low;
          group.append(
            svg("line", {
              x1: scale.place(from),
              x2: scale.place(high),
              y1: y,
              y2: y,
              class: `l${one.place % 8}`,
              "stroke-width": 2,
            }),
          );
        }
        group.append(drawMarker(one.place, scale.place(value), y));
      }
      group.append(title(said));
      image.append(group);
    });
  });
  return finish(image, bottom + 42);
}

/** A bar a label from zero, to the right more and to the left less, with the value written behind it. */
function drawBars(chart, width) {
  const { rows, series, spec, left, image } = startRows(chart, width);
  const one = series[0] || spec.series[0],
    room = 66;
  const marks = spec.marks || [],
    top = marks.length ? 24 : 8,
    step = 22,
    bottom = top + rows.length * step;
  const every = rows
    .flatMap(({ row }) => [one.values[row], (one.low || [])[row], (one.high || [])[row]])
    .concat(marks.map(([value]) => value));
  const numbers = every.filter((value) => typeof value === "number");
  const negative = numbers.some((value) => value < 0);
  const scale = new Scale(numbers, false, left + (negative ? room : 2), width - room, { zero: true, room: 0 });
  drawAxis(image, scale, top, bottom, spec.axis, spec.unit, width, spec.signed);
  drawMarks(image, marks, scale, top, bottom);
  const zero = scale.place(0);
  rows.forEach(({ label, row }, n) => {
    const y = top + n * step,
      value = one.values[row],
      gap = (one.gaps || [])[row];
    const low = (one.low || [])[row],
      high = (one.high || [])[row];
    drawName(image, label, left, y + step / 2);
    const group = svg("g", null);
    let said = `${label}: ${gap || showValue(value, spec.unit)}`,
      end = zero;
    if (typeof value === "number") {
      const x = scale.place(value);
      group.append(
        svg("rect", {
          x: Math.min(x, zero),
          y: y + 4,
          width: Math.max(Math.abs(x - zero), 0.5),
          height: step - 8,
          class: negative || spec.signed ? (value > 0 ? "fmore" : "fless") : "f0",
        }),
      );
      end = x;
      if (typeof low === "number" && typeof high === "number") {
        said += ` (95 %: ${showValue(low, spec.unit)} to ${showValue(high, spec.unit)})`;
        const [a, b] = [scale.place(low), scale.place(high)];
        group.append(
          svg("path", {
            d: `M${a},${y + step / 2}H${b}M${a},${y + 7}v${step - 14}M${b},${y + 7}v${step - 14}`,
            fill: "none",
            class: "l4",
            "stroke-width": 1.2,
          }),
        );
        end = value < 0 ? Math.min(end, a) : Math.max(end, b);
      }
    }
    const sign = spec.signed && value > 0 ? "+" : "";
    const short = spec.unit.startsWith("share")
      ? `${(100 * value).toFixed(Math.abs(value) < 0.1 ? 1 : 0)}\u00a0%`
      : showValue(value, spec.unit);
    const written = typeof value === "number" ? sign + short : gap || MISSING;
    group.append(
      write(
        written,
        value < 0 ? end - 6 : end + 6,
        y + step / 2 + 4,
        gap ? "soft" : "",
        value < 0 ? "end" : "start",
      ),
      title(said),
    );
    image.append(group);
  });
  image.append(rule(zero, top, zero, bottom, "base"));
  return finish(image, bottom + 42);
}

/** A row a label, its series one behind the other to the whole. */
function drawStack(chart, width) {
  const { rows, series, spec, left, image } = startRows(chart, width);
  const top = drawLegend(image, series, width, true) + 4,
    step = 34,
    bottom = top + rows.length * step;
  const scale = new Scale([0, 1], false, left, width - RIGHT, { room: 0 });
  drawAxis(image, scale, top, bottom, spec.axis, spec.unit, width);
  rows.forEach(({ label, row }, n) => {
    const y = top + n * step;
    drawName(image, label, left, y + step / 2);
    let before = 0;
    for (const one of series) {
      const value = one.values[row];
      if (!value) continue;
      const [a, b] = [scale.place(before), scale.place(before + value)];
      const group = svg(
        "g",
        null,
        svg("rect", {
          x: a,
          y: y + 4,
          width: Math.max(b - a - 1, 0.4),
          height: step - 8,
          class: `f${one.place % 8}`,
        }),
      );
      const written = showTick(+value.toFixed(2), spec.unit);
      if (b - a > measure(written) + 10)
        group.append(
          svg(
            "text",
            { x: (a + b) / 2, y: y + step / 2 + 4, "text-anchor": "middle", class: "inside" },
            written,
          ),
        );
      group.append(title(`${label}: ${one.name} ${showValue(value, spec.unit)}`));
      image.append(group);
      before += value;
    }
  });
  return finish(image, bottom + 42);
}

/** Numbers against numbers: a curve a series (`lines`) or a marker a value (`spots`). Many curves are pale. */
function drawPlane(chart, width) {
  const { spec } = chart,
    { series } = listShown(chart),
    joined = spec.kind === "lines",
    many = series.length > 8;
  const image = svg("svg", { width, role: "img", "aria-label": spec.title, class: many ? "many" : "" });
  const edge =
    joined && many ? Math.min(width * 0.3, Math.max(...series.map((one) => measure(one.name))) + 30) : RIGHT;
  const top = many ? 22 : drawLegend(image, series, width, false) + 20,
    tall = many && joined ? Math.min(640, 13 * series.length) : 0;
  const bottom = top + Math.max(Math.min(360, Math.max(220, width * 0.5)), tall);
  const left = 56,
    finite = (value) => typeof value === "number";
  const across = new Scale(series.flatMap((one) => one.x).filter(finite), spec.xlog, left, width - edge, {
    room: joined ? 0 : 0.04,
  });
  const upward = new Scale(
    series.flatMap((one) => [...one.values, ...((joined && one.high) || [])]).filter(finite),
    spec.log,
    bottom - 6,
    top + 6,
    { zero: !spec.log },
  );
  drawAxis(image, across, top, bottom, spec.across, spec.xunit || "", width);
  for (const value of upward.ticks(6)) {
    const y = upward.place(value);
    image.append(
      rule(left, y, width - edge, y, "grid"),
      write(showTick(value, spec.unit), left - 7, y + 4, "soft", "end"),
    );
  }
  image.append(write(crop(spec.axis, width - 8), 2, top - 9, "soft"));
  const ends = [];
  for (const one of series) {
    const spots = one.values.map((value, n) => ({
      value,
      at: one.x[n],
      name: (one.names || [])[n],
      gap: (one.gaps || [])[n],
    }));
    const known = spots.filter(({ value, at }) => finite(value) && finite(at) && !(spec.log && value <= 0));
    if (joined && known.length) {
      const path = known
        .map(
          ({ value, at }, n) =>
            `${n ? "L" : "M"}${across.place(at).toFixed(1)},${upward.place(value).toFixed(1)}`,
        )
        .join("");
      const told = many && chart.told.indexOf(one.place),
        tone = many ? (told < 0 ? "lsoft" : `l${told % 8} told`) : `l${one.place % 8}`;
      if (one.low && !many) image.append(drawBand(one, across, upward));
      image.append(svg("path", { d: path, class: `curve ${tone}` }, title(one.name)));
      const last = known[known.length - 1];
      ends.push({ name: one.name, x: across.place(last.at), y: upward.place(last.value), told });
      for (const { value, at } of (one.marked || []).map((n) => spots[n])) {
        const said = title(`${one.name}: ${showValue(value, spec.unit)} at ${at.toLocaleString("en")}`);
        const mark = drawMarker(many ? 0 : one.place, across.place(at), upward.place(value));
        image.append(fill(mark, { class: `${tone.replace(/^l/, "f")} halo marked` }, [said]));
      }
    }
    if (joined && (known.length > 30 || one.marked)) continue;
    for (const { value, at, name, gap } of spots) {
      if (!finite(at) || (!finite(value) && !gap)) continue;
      const x = across.place(at),
        said = `${name ? name + ", " : ""}${one.name}: ${gap || showValue(value, spec.unit)} at ${at.toLocaleString("en")}`;
      const mark = gap
        ? drawSign(CROSS, one.place, x, top + 6)
        : spec.log && value <= 0
          ? drawSign(ARROW, one.place, x, bottom - 6, -90)
          : many
            ? null
            : drawMarker(one.place, x, upward.place(value));
      if (mark) image.append(fill(mark, null, [title(said)]));
    }
  }
  if (joined && many) nameEnds(image, ends, top, bottom, width, edge);
  if (!joined) nameSpots(image, series, across, upward);
  return finish(image, bottom + 42);
}

/** The intervals of a curve, as a band behind it. */
function drawBand(one, across, upward) {
  const known = one.values
    .map((_, n) => n)
    .filter((n) => typeof one.low[n] === "number" && typeof one.high[n] === "number");
  const go = (n, ends) => `${across.place(one.x[n]).toFixed(1)},${upward.place(ends[n]).toFixed(1)}`;
  const path = [...known.map((n) => go(n, one.high)), ...known.reverse().map((n) => go(n, one.low))].join("L");
  return svg("path", { d: path ? `M${path}Z` : "", class: `f${one.place % 8}`, opacity: 0.15 });
}

/** Set falling or rising places apart by a gap, moved as little as that takes (least squares), within two ends. */
function spread(places, gap, first, last) {
  const blocks = [];
  places.forEach((place, n) => {
    let mean = place - n * gap,
      size = 1;
    while (blocks.length && blocks[blocks.length - 1].mean > mean) {
      const before = blocks.pop();
      [mean, size] = [(before.mean * before.size + mean * size) / (before.size + size), before.size + size];
    }
    blocks.push({ mean, size });
  });
  const start = Math.max(first, last - gap * (places.length - 1));
  const starts = blocks.flatMap(({ mean, size }) => Array(size).fill(Math.min(Math.max(mean, first), start)));
  return starts.map((place, n) => place + n * gap);
}

/** Write the names of curves beside their ends, each with a thread to its curve; told ones in their colour. */
function nameEnds(image, ends, top, bottom, width, edge) {
  ends.sort((a, b) => a.y - b.y);
  const gap = Math.min(13, (bottom - top) / Math.max(ends.length - 1, 1)),
    turn = width - edge;
  const places = spread(
      ends.map(({ y }) => y),
      gap,
      top,
      bottom,
    ),
    threads = [];
  ends.forEach(({ name, x, y, told }, n) => {
    const tone = told < 0 ? "soft" : `name f${told % 8}`;
    threads.push(
      svg("path", {
        d: `M${x.toFixed(1)},${y.toFixed(1)}H${turn}L${turn + 18},${places[n].toFixed(1)}`,
        class: "thread",
      }),
    );
    image.append(
      svg("text", { x: turn + 22, y: places[n] + 4, class: tone }, title(name), crop(name, edge - 24)),
    );
  });
  image.prepend(...threads);
}

/** Write names beside the highest spots, none over another. */
function nameSpots(image, series, across, upward) {
  const taken = [];
  const spots = series.flatMap((one) =>
    one.values.map((value, n) => ({ value, at: one.x[n], name: (one.names || [])[n] })),
  );
  for (const { value, at, name } of spots
    .filter((one) => one.name && one.value !== null)
    .sort((a, b) => b.value - a.value)) {
    const x = across.place(at),
      y = upward.place(value),
      wide = measure(name),
      back = x + wide + 12 > across.end;
    const box = { a: back ? x - 8 - wide : x + 8, b: back ? x - 8 : x + 8 + wide, y };
    if (
      taken.length >= 14 ||
      taken.some((one) => box.a < one.b + 4 && box.b > one.a - 4 && Math.abs(one.y - y) < 13)
    )
      continue;
    taken.push(box);
    image.append(write(name, box.a, y + 4, "halo"));
  }
}

const DRAW = { dots: drawDots, bars: drawBars, stack: drawStack, lines: drawPlane, spots: drawPlane };

/** Draw a chart at the width it has; one that is not near the window is drawn when it comes near. */
function drawChart(figure) {
  const chart = charts.get(figure),
    width = figure.clientWidth;
  chart.stale = !width || !chart.near;
  if (chart.stale) return;
  chart.width = width;
  figure.querySelector(".plot").replaceChildren(DRAW[chart.spec.kind](chart, width));
}

function drawAll() {
  for (const [figure, chart] of charts) {
    chart.near = true;
    drawChart(figure);
  }
}

/** Take a figure's chart, from its own data or as given, and keep it drawn at the width it has. */
function startChart(figure, spec) {
  const told = figure.querySelector(":scope > script");
  const chart = {
    spec: spec || JSON.parse(told.textContent),
    hidden: new Set(),
    keeps: null,
    width: 0,
    told: [],
    near: false,
    stale: true,
  };
  charts.set(figure, chart);
  if (!figure.querySelector(".tools")) {
    const save = (kind) =>
      html(
        "button",
        { type: "button", on: { click: () => saveChart(figure, kind) } },
        `Save ${kind.toUpperCase()}`,
      );
    const list = html("button", { type: "button", "aria-expanded": "false" }, "Numbers");
    list.addEventListener("click", () => toggleNumbers(figure, list));
    const tools = html("div", { class: "tools" }, save("svg"), save("png"), list);
    if (chart.spec.kind === "lines" && chart.spec.series.length > 8) tools.prepend(chooseCurves(figure, chart));
    figure.append(tools);
  }
  watcher.observe(figure);
  approach.observe(figure);
}

/** Colour the two highest and the two lowest of many curves, or the one that is chosen. */
function chooseCurves(figure, chart) {
  const ends = chart.spec.series.map((one, place) => ({
    place,
    end: one.values.filter((value) => value !== null).pop() ?? 0,
  }));
  const order = ends.sort((a, b) => b.end - a.end).map(({ place }) => place),
    usual = [...order.slice(0, 2), ...order.slice(-2)];
  chart.told = usual;
  const names = chart.spec.series
    .map((one, place) => ({ name: one.name, place }))
    .sort((a, b) => collate(a.name, b.name));
  const chosen = html(
    "select",
    { "aria-label": "Curve to show in colour" },
    html("option", { value: "" }, "highest and lowest"),
    ...names.map(({ name, place }) => html("option", { value: place }, name)),
  );
  chosen.addEventListener("change", () => {
    chart.told = chosen.value === "" ? usual : [+chosen.value];
    drawChart(figure);
  });
  return chosen;
}

const watcher = new ResizeObserver((seen) => {
  for (const { target } of seen) if (charts.get(target).width !== target.clientWidth) drawChart(target);
});
const approach = new IntersectionObserver(
  (seen) => {
    for (const { target, isIntersecting } of seen) {
      charts.get(target).near = isIntersecting;
      if (isIntersecting && charts.get(target).stale) drawChart(target);
    }
  },
  { rootMargin: "600px" },
);

/** Show a chart's numbers as a table below it, or hide them. */
function toggleNumbers(figure, button) {
  const open = figure.querySelector(".numbers");
  button.setAttribute("aria-expanded", String(!open));
  if (open) {
    open.remove();
    return;
  }
  const chart = charts.get(figure),
    { spec } = chart,
    { rows, series } = listShown(chart);
  const flat = !rows.length;
  const heads = flat
    ? ["series", spec.across || "x", spec.axis || "value"]
    : ["name", ...series.map((one) => one.name)];
  const lines = flat
    ? series.flatMap((one) =>
        one.values.map((value, n) => [
          [(one.names || [])[n], one.name].filter(Boolean).join(", "),
          (one.x[n] ?? NaN).toLocaleString("en"),
          (one.gaps || [])[n] || showValue(value, spec.unit),
        ]),
      )
    : rows.map(({ label, row }) => [
        label,
        ...series.map((one) => (one.gaps || [])[row] || showValue(one.values[row], spec.unit)),
      ]);
  const table = html(
    "table",
    null,
    html("caption", null, spec.title),
    html(
      "thead",
      null,
      html("tr", null, ...heads.map((name) => html("th", { scope: "col" }, html("bdi", null, name)))),
    ),
    html(
      "tbody",
      null,
      ...lines.map(([name, ...values]) =>
        html(
          "tr",
          null,
          html("th", { scope: "row" }, html("bdi", null, name)),
          ...values.map((value) => html("td", null, value)),
        ),
      ),
    ),
  );
  startTable(table);
  figure.append(
    html("div", { class: "scroll numbers", tabindex: "0", role: "group", "aria-label": spec.title }, table),
  );
}

// --- Saved charts ----------------------------------------------------------------------------------
// A saved image stands alone: what the page's style says is written into it, in the light theme, for a paper.

const KEPT = [
  "fill",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "opacity",
  "paint-order",
  "stroke-linejoin",
  "font-size",
  "font-weight",
];

function copyImage(figure) {
  figure.classList.add("saving");
  const image = figure.querySelector(".plot svg"),
    copy = image.cloneNode(true);
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("font-family", getComputedStyle(document.body).fontFamily);
  const parts = image.querySelectorAll("*"),
    copies = copy.querySelectorAll("*");
  parts.forEach((part, n) => {
    if (part.tagName === "title") return;
    const style = getComputedStyle(part);
    for (const name of KEPT) {
      const value = style.getPropertyValue(name);
      if ((value && !["none", "normal", "1", "auto"].includes(value)) || name === "fill")
        copies[n].setAttribute(name, value);
    }
    copies[n].removeAttribute("class");
  });
  copy.prepend(svg("rect", { width: "100%", height: "100%", fill: "#ffffff" }));
  figure.classList.remove("saving");
  return copy;
}

function download(url, name) {
  html("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function saveChart(figure, kind) {
  const copy = copyImage(figure),
    said = charts.get(figure).spec.title;
  const name = said
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60);
  const blob = new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
  const url = URL.createObjectURL(blob);
  if (kind === "svg") {
    download(url, `${name}.svg`);
    return;
  }
  const image = new Image(),
    scale = 3;
  image.addEventListener("load", () => {
    const board = html("canvas", {
      width: copy.getAttribute("width") * scale,
      height: copy.getAttribute("height") * scale,
    });
    const brush = board.getContext("2d");
    brush.scale(scale, scale);
    brush.drawImage(image, 0, 0);
    board.toBlob((made) => download(URL.createObjectURL(made), `${name}.png`), "image/png");
  });
  image.src = url;
}

startThemes();
document.querySelectorAll("table.sortable").forEach(startTable);
document.querySelectorAll("figure.chart").forEach((figure) => {
  if (figure.querySelector(":scope > script")) startChart(figure);
});
addEventListener("beforeprint", drawAll);
