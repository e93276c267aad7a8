// Tables of numbers as text -> {shape, values (Float32Array), notes}. What is not certain is refused with its line.
const POINT = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const COMMA = /^[+-]?(\d+(,\d+)?|,\d+)(e[+-]?\d+)?$/i;
const MISSING = /^([+-]?nan|#?n\/?a|<na>|null|none|-+|#(n\/a|num!|value!|div\/0!))$/i;
const COUNTER = /^(unnamed.*|index|idx|id|row|no\.?|nr\.?|n|#|samples?|frames?)$/i;
const TIME = /^(time|zeit|temps|tiempo|tempo|timestamps?|seconds?|secs?|s|t|ms|us|date|datetime)\b|^(time|timestamp|t)_/i;
const DATE = /^(\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{4}|\d\d?:\d\d)/;
const NAMES = { ",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces" };

/** The text of a file: UTF-8, or UTF-16 where its first bytes say so. */
export function decodeText(bytes) {
  const [first, second] = bytes;
  const utf16 = { "255,254": "utf-16le", "254,255": "utf-16be" }[`${first},${second}`];
  return new TextDecoder(utf16 ?? "utf-8").decode(bytes);
}

/**
 * Read one line a sample, one column a channel. One separator a file: ; or tab (the comma is then the decimal sign),
 * else the comma, else spaces. Lines of names at the top and a first column that counts or gives times are left out,
 * and the notes say so.
 * @param {string} text
 * @param {{channels?: number, gaps?: boolean}} options channels that the model takes; gaps: NaN is allowed
 */
export function readCsv(text, { channels, gaps = false } = {}) {
  const { lines, separator: given } = contentLines(text);
  if (!lines.length) throw new Error("The file holds no numbers. Expected one line a sample, one column a channel.");
  const separator = given ?? findSeparator(lines);
  const rows = lines.map(({ line, at }) => ({ cells: splitLine(line, separator, at), at }));
  const decimal = decimalSign(rows, separator);
  const head = headerLines(rows, decimal);
  const data = rows.slice(head);
  if (!data.length) throw new Error("The file holds names and no numbers. Expected one line a sample.");
  dropTrailing(data, head ? rows[0].cells : []);
  const width = checkWidths(data, separator);
  const names = head ? rows[0].cells : null;
  const notes = head ? [`${rows.slice(0, head).map(({ at }) => `line ${at}`).join(", ")}: names`] : [];
  const dated = width > 1 && data.every(({ cells }) => DATE.test(cells[0]) && !isNumber(cells[0], decimal));
  const table = new Float64Array(data.length * width);
  data.forEach(({ cells, at }, row) => cells.forEach((cell, column) => {
    table[row * width + column] = dated && column === 0 ? row : asNumber(cell, { at, column, decimal, separator, gaps });
  }));
  const shift = dated || isIndex(table, width, names, channels) ? 1 : 0;
  if (shift) notes.push("the first column counts or gives times: left out");
  if (decimal === ",") notes.push("commas are decimal signs");
  const kept = width - shift;
  const values = new Float32Array(data.length * kept);
  for (let i = 0; i < values.length; i += 1) values[i] = table[Math.floor(i / kept) * width + (i % kept) + shift];
  return { shape: [data.length, kept], values, notes, separator: NAMES[separator] ?? separator };
}

/** Lines with content and their numbers, from 1; without a byte order mark, comments, Excel's `sep=` and blank ends. */
function contentLines(text) {
  const all = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/).map((line, i) => ({ line, at: i + 1 }));
  let separator = null;
  const declared = all[0].line.match(/^"?sep=(.)"?;?$/i);
  if (declared) {
    separator = declared[1];
    all.shift();
  }
  const lines = all.filter(({ line }) => !line.startsWith("#") || DATE.test(line));
  while (lines.length && !lines[0].line.trim()) lines.shift();
  while (lines.length && !lines.at(-1).line.trim()) lines.pop();
  const blank = lines.find(({ line }) => !line.trim());
  if (blank) throw new Error(`Line ${blank.at} is blank: a sample would be missing. Fill it, or remove the line.`);
  return { lines, separator };
}

const unquoted = (line) => (line.includes('"') ? line.replace(/"[^"]*"/g, "q") : line);

/** What separates the cells, judged by lines of numbers. */
function findSeparator(lines) {
  const ends = lines.length > 400 ? [...lines.slice(0, 200), ...lines.slice(-200)] : lines;
  const isNumeric = ({ line }) => /^[\d\s.,;|"+\-\u2212eE]*$/.test(line);
  const numbers = ends.filter(isNumeric);
  const some = (numbers.length ? numbers : ends).map(({ line }) => unquoted(line).trim());
  for (const separator of [";", "\t", "|"]) {
    if (some.some((line) => line.includes(separator))) return separator;
  }
  if (!some.some((line) => line.includes(","))) return " ";
  // Numbers such as "-0" and "05" are not written as cells of their own: the comma is the decimal sign.
  const comma = some.every((line) => line.split(/\s+/).every((cell) => COMMA.test(plain(cell))));
  const isProof = (line) => /\s/.test(line) || (/^[+-]?0?,|^[+-]0|^00*\d|,0\d/.test(plain(line))
    && !/^0,[1-9]|^0,0$/.test(line));
  return comma && lines.some((row) => isNumeric(row) && isProof(row.line.trim())) ? " " : ",";
}

function splitLine(line, separator, at) {
  if (separator === " ") return line.trim().split(/\s+/).map((cell) => cell.replace(/^"(.*)"$/, "$1"));
  if (!line.includes('"')) return line.split(separator).map((cell) => cell.trim());
  const cells = [];
  let [cell, quoted] = ["", false];
  for (let i = 0; i < line.length; i += 1) {
    const sign = line[i];
    if (sign === '"' && quoted && line[i + 1] === '"') cell += line[(i += 1)];
    else if (sign === '"') quoted = !quoted;
    else if (sign === separator && !quoted) {
      cells.push(cell.trim());
      cell = "";
    } else cell += sign;
  }
  if (quoted) throw new Error(`Line ${at}: a quotation mark is not closed.`);
  return [...cells, cell.trim()];
}

/** "," where a number holds one and the separator is another sign, or the cell is quoted and no thousands; else ".". */
function decimalSign(rows, separator) {
  const commas = rows.flatMap(({ cells }) => cells.filter((cell) => cell.includes(",")
    && /^[+-\u2212]?[\d.,]+(e[+-]?\d+)?$/i.test(cell)));
  const certain = separator !== "," || commas.some((cell) => COMMA.test(cell) && !/,\d{3}$/.test(cell));
  return commas.length && certain ? "," : ".";
}

const plain = (cell) => (cell.charCodeAt(0) === 0x2212 ? `-${cell.slice(1)}` : cell);
const isNumber = (cell, decimal) => (decimal === "," ? COMMA : POINT).test(plain(cell));

/** How many lines at the top hold names. */
function headerLines(rows, decimal) {
  const word = (cell) => cell !== "" && !isNumber(cell, decimal) && !MISSING.test(cell) && !DATE.test(cell)
    && !/^[+-]?inf/i.test(cell) && !/^[\d.,'\s+-]+$/.test(cell);
  // A line of numbers with one that is misspelt, as 1.5x, is no line of names.
  const isNames = ({ cells }) => cells.some((cell) => word(cell) && !/^[\d.+-]/.test(cell))
    || (cells.some(word) && !cells.some((cell) => isNumber(cell, decimal)));
  let head = isNames(rows[0]) || isNumbered(rows) ? 1 : 0;
  const units = ({ cells }) => cells.some(word) && cells.every((cell) => cell === "" || word(cell));
  while (head && head < rows.length && units(rows[head])) head += 1;
  return head;
}

/**
 * Whether the first line is pandas' names that are numbers: 0, 1, 2, ... over three columns or decimals alone; or whole
 * numbers behind an empty cell, over a column that counts.
 */
function isNumbered([{ cells }, ...others]) {
  const some = others.slice(0, 50).map((row) => row.cells);
  const decimals = some.length && some.every((row) => row.every((cell) => /\d[.,]|[.,]\d|e/i.test(cell)));
  if (cells[0] !== "" || cells.length < 2) {
    return cells.every((cell, i) => cell === String(i)) && Boolean(cells.length > 2 || decimals);
  }
  const names = cells.slice(1);
  if (!some.length || !names.every((cell) => /^\d+$/.test(cell))) return false;
  const start = Number(some[0][0]);
  const counts = some.every((row, i) => row[0] !== "" && Number(row[0]) === start + i);
  // From 1 on, the empty cell may be a 0 that is missing over whole numbers.
  const sure = start !== 1 || some.every((row) => row.slice(1).every((cell) => /[.,e]/i.test(cell)));
  return names.every((cell, i) => cell === String(i)) || (counts && sure);
}

/** Leave out the last cell where every line ends in a separator, and no name stands over it. */
function dropTrailing(data, names) {
  const width = data[0].cells.length;
  if (width > 1 && !names[width - 1] && data.every(({ cells }) => cells.length === width && cells[width - 1] === "")) {
    data.forEach(({ cells }) => cells.pop());
  }
}

function checkWidths(data, separator) {
  const width = data[0].cells.length;
  const odd = data.find(({ cells }) => cells.length !== width);
  if (odd) {
    const hint = separator === "," ? " (Where the comma is the decimal sign, separate cells by ; or tabs, or write sep=; " +
      "in the first line.)" : "";
    throw new Error(`Line ${odd.at} has ${odd.cells.length} cells, line ${data[0].at} has ${width}. Expected one line a ` +
      `sample, one column a channel, here separated by ${NAMES[separator] ?? separator}.${hint}`);
  }
  return width;
}

function asNumber(cell, { at, column, decimal, separator, gaps }) {
  const place = `Line ${at}, column ${column + 1}`;
  if (isNumber(cell, decimal)) return Number(decimal === "," ? plain(cell).replace(",", ".") : plain(cell));
  if (cell === "") throw new Error(`${place}: the cell is blank. Fill it, or remove the line or the column.`);
  if (MISSING.test(cell)) {
    if (gaps) return NaN;
    throw new Error(`${place}: the value is missing (${cell}), and this model takes no gaps. Fill it.`);
  }
  const hint = /\d/.test(cell) && /[.,'\s]/.test(cell) ? `; numbers are read with the decimal sign ${decimal} and no ` +
    "separators of thousands" : "";
  throw new Error(`${place}: ${cell.slice(0, 40)} is no number (cells are separated by ${NAMES[separator] ?? separator}` +
    `${hint}).`);
}

/** Whether the first column counts the samples or gives their times. */
function isIndex(table, width, names, channels) {
  const rows = table.length / width;
  if (width < 2) return false;
  // R writes no name over its row names.
  const named = names?.length === width ? names[0] : names?.length === width - 1 ? "index" : null;
  const steps = Array.from({ length: rows - 1 }, (_, i) => table[(i + 1) * width] - table[i * width]);
  const rising = steps.every((step) => step > 0); // false for NaN too
  if (named !== null && TIME.test(named) && steps.every((step) => step >= 0)) return true; // rounded, some are equal
  if (named === "" && !rising && names.some((name, i) => i && Number(name) === i - 1)) {
    throw new Error("The first line begins with a blank cell, and the first column does not count. Fill the cell.");
  }
  if (named === "" || /^unnamed/i.test(named ?? "")) return true;
  if (!rising && named !== null && TIME.test(named)) {
    throw new Error(`The column ${named} does not rise from line to line. Sort the lines, or remove the column.`);
  }
  // A column more than the model has channels; times may be rounded.
  if (width - 1 === channels && rows > 2 && steps.every((step) => step >= 0) && steps.some(Boolean)) return true;
  if (!rising) return false;
  if (named !== null && (COUNTER.test(named) || TIME.test(named))) return true;
  if (rows > 2 && steps.every((step) => step === 1)) return true;
  const mean = (table[(rows - 1) * width] - table[0]) / (rows - 1);
  return rows > 8 && !Number.isInteger(mean) && steps.every((step) => Math.abs(step - mean) < 0.01 * mean);
}
