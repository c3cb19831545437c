// CSV for spreadsheets: a cell that a spreadsheet would run as a formula is marked as text.
const FORMULA = /^'*[=+\-@\t\r]/;
const NUMBER = /^([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-](inf|nan))$/i;

function csvCell(value) {
  const text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  const guarded = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}

// titles: strings; rows: objects with these keys.
export const csvOf = (titles, rows) => [titles, ...rows.map((row) => titles.map((title) => row[title]))].map((cells) => `${cells.map(csvCell).join(",")}\n`).join("");

// Gives the browser a file to save.
export function download(name, text, type = "text/csv") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
