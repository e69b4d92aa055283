"use strict";

// Every table with rows to sort gets a button in each header: upwards, downwards, and as it was written.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const written = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  if (written.length < 2) continue;
  for (const header of headers) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[header.getAttribute("aria-sort")];
      for (const other of headers) other.setAttribute("aria-sort", other === header ? order : "none");
      body.append(...(order === "none" ? written : sorted(written, headers.indexOf(header), order)));
    });
  }
}

function sorted(rows, column, order) {
  const keys = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
  const known = [...keys.values()].filter((text) => !isNothing(text));
  const isNumeric = known.filter(isNumber).length * 2 >= known.length;
  const isLast = (text) => isNothing(text) || (isNumeric && !isNumber(text));
  const sign = order === "ascending" ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [first, second] = [keys.get(a), keys.get(b)];
    return isLast(first) - isLast(second) || sign * compare(first, second);
  });
}

function isNothing(text) {
  return text === "" || text === "–" || text === "nan";
}

function isNumber(text) {
  return /^(< ?)?[-+]?\.?\d/.test(text);
}

// Numbers within a text count as numbers: batch_size=8 comes before batch_size=16, and lr=1e-05 before lr=0.001.
function compare(a, b) {
  const [first, second] = [parts(a), parts(b)];
  for (let i = 0; i < Math.min(first.length, second.length); i++) {
    const difference = i % 2 ? first[i] - second[i] : first[i].localeCompare(second[i], "en");
    if (difference) return difference;
  }
  return first.length - second.length;
}

// Text and numbers by turns; the thousands of a number have commas, and it may be said to be less than that.
function parts(text) {
  const split = text.replace(/^< ?/, "").replace(/(\d),(?=\d{3}\b)/g, "$1").split(/((?:^[-+])?\d+(?:\.\d+)?(?:e[-+]?\d+)?)/i);
  return split.map((part, i) => (i % 2 ? Number(part) : part));
}

// Where there is room beside the text, the contents stand there, open.
const details = document.querySelector("nav details");
if (details && matchMedia("(min-width: 90rem)").matches) details.open = true;
