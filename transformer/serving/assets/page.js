"use strict";

const PAUSE = 250; // milliseconds without a key before a text is translated
const CHUNK_LINES = 50, CHUNK_CHARACTERS = 8000; // of a request
const KEPT = 2000; // translated lines that are remembered
const LARGEST_FILE = 20e6; // bytes
const RETRIES = 5;

const get = id => document.getElementById(id);
const source = get("source"), target = get("target"), text = get("text"), list = get("lines");
let languages = [], limit = 10000, asking = null, timer = 0, chosenLine = -1, attentionAsked = 0;
let shown = []; // for each line {line, ways, chosen}
const known = new Map(); // translations by pair and line

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = content;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function say(place, sentence, isError = false) {
  place.textContent = sentence;
  place.classList.toggle("error", isError);
}

const pause = (milliseconds, signal) => new Promise((resolve, reject) => {
  const waiting = setTimeout(resolve, milliseconds);
  signal.addEventListener("abort", () => { clearTimeout(waiting); reject(signal.reason); }, { once: true });
});

async function post(path, values, signal) { // `values` may have languages of their own
  const body = JSON.stringify({ source: source.value, target: target.value, api_key: get("key").value, ...values });
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body, signal });
    const result = await answer.json();
    if (answer.ok) return result;
    const busy = answer.status === 429 || answer.status === 503;
    if (!busy || attempt === RETRIES) throw new Error(result.error);
    await pause(1000 * Number(answer.headers.get("Retry-After") || 1), signal);
  }
}

/* Cut lines into runs that fit a request. */
function chunks(lines) {
  const found = [];
  let run = [], characters = 0;
  for (const line of lines) {
    if (run.length === CHUNK_LINES || (run.length && characters + line.length > CHUNK_CHARACTERS)) {
      found.push(run);
      [run, characters] = [[], 0];
    }
    run.push(line);
    characters += line.length;
  }
  if (run.length) found.push(run);
  return found;
}

const keyOf = line => `${source.value} ${target.value} ${line}`;

async function translate() {
  if (asking) asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const lines = text.value.split("\n");
  try {
    const long = lines.findIndex(line => line.length > limit);
    if (long >= 0) throw new Error(`Line ${long + 1} has more than ${limit} characters.`);
    const missing = [...new Set(lines.filter(line => line.trim() && !known.has(keyOf(line))))];
    if (missing.length) list.classList.add("waiting");
    for (const run of chunks(missing)) {
      const answer = await post("/page/translate", { q: run }, signal);
      run.forEach((line, i) => known.set(keyOf(line), Object.assign(answer.lines[i], { source: answer.source })));
      if (answer.detected) say(get("status"), `Detected: ${nameOf(answer.source)} (${answer.detected.confidence} %)`);
      show(lines);
    }
    for (const key of known.keys()) if (known.size > KEPT) known.delete(key); // the oldest
    list.classList.remove("waiting");
    if (source.value !== "auto" || !text.value.trim()) say(get("status"), "");
    show(lines);
  } catch (error) {
    if (signal.aborted) return;
    list.classList.remove("waiting");
    say(get("status"), error.message, true);
  }
}

function show(lines) {
  const old = shown;
  shown = lines.map((line, i) => {
    const ways = line.trim() ? known.get(keyOf(line)) : [];
    if (!ways) return old[i] || { line, ways: [], chosen: 0 }; // not yet translated: what was there stays
    return old[i] && old[i].ways === ways ? old[i] : { line, ways, chosen: 0 };
  });
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach((each, i) => showLine(each, i));
  get("copy").disabled = !shown.some(each => each.ways.length);
  const only = shown.filter(each => each.ways.length);
  if (only.length === 1) choose(shown.indexOf(only[0]));
  else if (chosenLine >= shown.length || chosenLine < 0 || !shown[chosenLine].ways.length) choose(-1);
  else choose(chosenLine);
}

function showLine(each, i) {
  const item = list.children[i] || list.appendChild(document.createElement("li"));
  const content = each.ways.length ? each.ways[each.chosen].text : "";
  let button = item.firstChild;
  if (!each.ways.length) {
    item.textContent = "";
    return;
  }
  if (!button) {
    button = element("button", "", { type: "button", dir: "auto" });
    button.addEventListener("click", () => choose(i));
    item.appendChild(button);
  }
  if (button.textContent !== content) button.textContent = content;
  button.setAttribute("aria-pressed", String(i === chosenLine));
}

function choose(i) {
  chosenLine = i;
  shown.forEach(showLine);
  const each = shown[i], details = get("details");
  details.hidden = !each;
  if (!each) return;
  const ways = get("ways");
  ways.textContent = "";
  each.ways.forEach((way, rank) => {
    const row = ways.insertRow();
    const button = element("button", way.text, { type: "button", dir: "auto", "aria-pressed": String(rank === each.chosen) });
    button.addEventListener("click", () => {
      each.chosen = rank;
      choose(i);
      ways.rows[rank].querySelector("button").focus();
    });
    row.insertCell().appendChild(button);
    row.insertCell().textContent = way.score.toFixed(2);
  });
  attend(each);
}

async function attend(each) {
  const asked = ++attentionAsked, way = each.ways[each.chosen];
  const values = { q: each.line.trim(), translation: way.text, source: each.ways.source };
  try {
    way.attention ||= await post("/page/attention", values, new AbortController().signal);
    if (asked === attentionAsked) showAttention(way.attention);
  } catch (error) {
    if (asked === attentionAsked) showAttention({ source: [], target: [], weights: [] }, error.message);
  }
}

function showAttention({ source: words, target: translated, weights, cut }, note = "") {
  const sides = [fill("source-words", words), fill("target-words", translated)];
  say(get("value"), note || (cut ? "Only the beginning of this long line is shown." : ""));
  const weightAt = (side, i, j) => (side === 0 ? weights[j][i] : weights[i][j]) || 0;
  sides.forEach((buttons, side) => buttons.forEach((button, i) => {
    const light = () => {
      const other = sides[1 - side];
      sides.flat().forEach(each => { each.classList.remove("chosen"); each.style.setProperty("--weight", 0); });
      button.classList.add("chosen");
      other.forEach((each, j) => each.style.setProperty("--weight", weightAt(side, i, j)));
      const ranked = other.map((each, j) => [weightAt(side, i, j), each.textContent]).sort((a, b) => b[0] - a[0]);
      const best = ranked.slice(0, 3).map(([weight, word]) => `${word} ${weight.toFixed(2)}`).join(", ");
      get("value").textContent = `${button.textContent} ${side ? "←" : "→"} ${best}`;
    };
    button.addEventListener("pointerenter", light);
    button.addEventListener("focus", light);
    button.addEventListener("keydown", event => move(event, sides, side, i));
  }));
}

function fill(id, words) {
  const place = get(id);
  place.textContent = "";
  return words.map((word, i) => {
    if (i) place.append(" ");
    return place.appendChild(element("button", word, { type: "button", tabindex: i ? "-1" : "0" }));
  });
}

function move(event, sides, side, i) {
  const across = { ArrowUp: 0, ArrowDown: 1 }[event.key];
  const places = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: sides[side].length - 1 };
  const row = across === undefined ? sides[side] : sides[across];
  const place = across === undefined ? places[event.key] : Math.min(i, row.length - 1);
  if (place === undefined || !row[place]) return;
  event.preventDefault();
  row.forEach(each => each.setAttribute("tabindex", "-1"));
  row[place].setAttribute("tabindex", "0");
  row[place].focus();
}

/* ---- languages ---- */

const nameOf = code => (languages.find(each => each.code === code) || { name: code }).name;

function targets() {
  const all = source.value === "auto" ? languages.flatMap(each => each.targets) : languages.find(each => each.code === source.value).targets;
  const before = target.value;
  target.replaceChildren(...[...new Set(all)].sort().map(code => element("option", nameOf(code), { value: code })));
  if (all.includes(before)) target.value = before;
  const back = languages.find(each => each.code === target.value);
  get("swap").disabled = source.value === "auto" || !back.targets.includes(source.value);
}

async function start() {
  const [found, settings] = await Promise.all(["/languages", "/frontend/settings"].map(async path => (await fetch(path)).json()));
  languages = found;
  limit = settings.charLimit;
  get("key-label").hidden = !settings.keyRequired;
  const sources = found.filter(each => each.targets.length);
  if (sources.length > 1) source.append(element("option", "Detect language", { value: "auto" }));
  source.append(...sources.map(each => element("option", each.name, { value: each.code })));
  source.value = settings.language.source.code;
  targets();
  target.value = settings.language.target.code;
  targets();
  translate();
}

source.addEventListener("change", () => { targets(); translate(); });
target.addEventListener("change", () => { targets(); translate(); });
get("key").addEventListener("change", translate);
get("bar").addEventListener("submit", event => event.preventDefault());
text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(translate, PAUSE); });
get("swap").addEventListener("click", () => {
  const [from, to] = [source.value, target.value];
  const translation = shown.map(each => (each.ways.length ? each.ways[each.chosen].text : "")).join("\n");
  source.value = to;
  targets();
  target.value = from;
  targets();
  text.value = translation;
  translate();
});
get("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(shown.map(each => (each.ways.length ? each.ways[each.chosen].text : each.line)).join("\n"));
    say(get("status"), "Copied.");
  } catch {
    say(get("status"), "The browser did not allow it to copy.", true);
  }
});

/* ---- a file ---- */

let working = null;

async function decoded(file) {
  const bytes = await file.arrayBuffer();
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error("The file is not UTF-8 text.");
  }
}

async function translateFile(file) {
  if (working) working.abort();
  working = new AbortController();
  const { signal } = working, status = get("file-status"), progress = get("progress"), link = get("download");
  const chosen = { source: source.value, target: target.value }; // of the whole file, whatever is chosen meanwhile
  link.hidden = true;
  try {
    if (file.size > LARGEST_FILE) throw new Error("The file is larger than 20 MB; use `transformer translate`.");
    const content = await decoded(file);
    const lines = content.split("\n").map(line => line.replace(/\r$/, ""));
    const long = lines.findIndex(line => line.length > limit);
    if (long >= 0) throw new Error(`Line ${long + 1} has more than ${limit} characters.`);
    [progress.max, progress.value, progress.hidden, get("stop").hidden] = [Math.max(1, lines.length), 0, false, false];
    const translated = [];
    for (const run of chunks(lines)) {
      const full = run.filter(line => line.trim());
      const answer = full.length ? (await post("/translate", { q: full, ...chosen }, signal)).translatedText : [];
      let next = 0;
      translated.push(...run.map(line => (line.trim() ? answer[next++] : line)));
      progress.value = translated.length;
      say(status, `${translated.length} of ${lines.length} lines`);
    }
    URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([translated.join("\n")], { type: "text/plain;charset=utf-8" }));
    link.download = `${file.name.replace(/\.[^.]*$/, "")}.${chosen.target}.txt`;
    link.textContent = `Save ${link.download}`;
    link.hidden = false;
    say(status, `${lines.length - (lines.at(-1) === "" ? 1 : 0)} lines are translated.`);
  } catch (error) {
    say(status, signal.aborted ? "Stopped." : error.message, !signal.aborted);
  }
  if (working.signal === signal) progress.hidden = get("stop").hidden = true;
}

get("file").addEventListener("change", () => { if (get("file").files[0]) translateFile(get("file").files[0]); });
get("stop").addEventListener("click", () => working.abort());

start().catch(error => say(get("status"), `The server does not answer: ${error.message}`, true));
