// What several panels are made of: keyed tables and the marks of what is abnormal.
import { html, nothing } from "/static/vendor/lit-html.js";
import { repeat } from "/static/vendor/directives/repeat.js";

export const number = (value, kind = "") => html`<td class="n ${kind}">${value}</td>`;

// Priority as number, shape and colour: a triangle, a square, a circle.
export const mark = (priority, words) =>
  html`<span class="mark p${priority}" role="img" aria-label=${words ?? `priority ${priority}`}>${priority}</span>`;

// Rows are keyed: a focused button never becomes another row's button when new data comes.
export const table = (label, heads, rows, cells, empty) =>
  rows.length === 0
    ? html`<p class="empty">${empty}</p>`
    : html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
        <table><thead><tr>${heads.map(([name, kind]) => html`<th scope="col" class=${kind ?? nothing}>${name}</th>`)}</tr></thead>
        <tbody>${repeat(rows, (row) => row.key, (row) => html`<tr>${cells(row)}</tr>`)}</tbody></table></div>`;
