"use strict";
// Sorts a table by the column whose heading is pressed; a second press turns the order round. Without
// scripts the tables stand as they were written, worst first.
const number = new Intl.Collator(undefined, { numeric: true });

function readCell(row, column) {
  const text = row.cells[column].textContent.trim();
  const value = parseFloat(text.replace(/,/g, ""));
  return { text, value: /^[-−]?[\d.]/.test(text) ? value : NaN, empty: text === "" || text.startsWith("–") };
}

function compareCells(a, b) {
  if (!Number.isNaN(a.value) && !Number.isNaN(b.value)) return a.value - b.value;
  return number.compare(a.text, b.text);
}

function sortBy(table, heading) {
  const column = heading.cellIndex;
  const falling = heading.getAttribute("aria-sort") !== "descending";
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, cell: readCell(row, column) }));
  rows.sort((a, b) => {
    if (a.cell.empty !== b.cell.empty) return a.cell.empty ? 1 : -1;
    return falling ? compareCells(b.cell, a.cell) : compareCells(a.cell, b.cell);
  });
  body.append(...rows.map((item) => item.row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, heading));
  }
}
