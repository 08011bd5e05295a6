"use strict";

// Numbers as the command line writes them, and elements that hold text, never markup.

function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = number;
  let unit = 0;
  while (value >= 999.5 && unit + 1 < units.length) {
    value /= 1000;
    unit += 1;
  }
  if (unit === 0) return `${number} B`;
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

function count(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// A part of a whole, never rounded up to all of it; there is no part of nothing.
function percent(part, whole) {
  const ratio = whole === 0 ? 0 : part / whole;
  return `${(Math.floor(ratio * 1000) / 10).toFixed(1)} %`;
}

function shortDigest(digest) {
  return digest.slice("sha256:".length, "sha256:".length + 12);
}

function byId(id) {
  return document.getElementById(id);
}

// An element with attributes (on… are listeners) and children: elements or texts.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Text of others: its direction stays its own.
function foreign(text, attributes = {}) {
  return element("bdi", attributes, text);
}

function button(label, attributes, ...children) {
  return element("button", { type: "button", "aria-label": label, ...attributes }, ...children);
}

// Fills a table: a heading is a text, or {text, right}; a row is a list of cells, the one at `named` its header. Without rows
// there are no headings either.
function fillTable(table, { caption, headings, rows, named = 0 }) {
  const columns = headings.map((heading) => (typeof heading === "string" ? { text: heading } : heading));
  const align = (column) => (columns[column].right ? { class: "right" } : {});
  const head = columns.map(({ text }, column) => element("th", { scope: "col", ...align(column) }, text));
  const body = rows.map((cells) =>
    element(
      "tr",
      {},
      ...cells.map((cell, column) =>
        column === named
          ? element("th", { scope: "row", ...align(column) }, cell)
          : element("td", align(column), cell),
      ),
    ),
  );
  table.replaceChildren(
    ...(caption ? [element("caption", {}, caption)] : []),
    ...(rows.length > 0 ? [element("thead", {}, element("tr", {}, ...head))] : []),
    element("tbody", {}, ...body),
  );
}

function fillSelect(select, names) {
  select.replaceChildren(...names.map((name, value) => element("option", { value }, name)));
}
