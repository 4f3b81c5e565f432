"use strict";
// Draws what the server says, time and again; the server alone reads files and makes the words.
const EVERY = 600; // milliseconds between two questions
const WORDS = ["strategy", "problem", "done", "error", "unit", "cost", "cost_unit", "spent", "left", "workers", "busy", "started"];
const place = (id) => document.getElementById(id);
const lines = new Map(); // key of a run -> the cells of its row
const watched = new Set(); // runs that this page asked to stop
let chosen = new Set(location.hash.slice(1).split(",").filter(Boolean).map(decodeURIComponent));
let runs = [];
let drawn = ""; // which runs are drawn, and of which version
let timer = 0;
let asking = false;

function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function say(text, wrong = false) {
  write(place("message"), text);
  place("message").classList.toggle("wrong", wrong);
}

async function ask(address, options) {
  const answer = await fetch(address, options);
  const content = await answer.json().catch(() => null);
  if (answer.status === 401 || answer.status === 403) {
    throw new Error("The dashboard was started again: open the address that it printed.");
  }
  if (!answer.ok) throw new Error(content?.error ?? `The dashboard answered ${answer.status}.`);
  return content;
}

function newLine(run) {
  const tick = element("input", { type: "checkbox" });
  const name = element("span", {}, run.key);
  const cells = Object.fromEntries(
    ["strategy", "left", "done", "problem", "unit", "cost_unit", "busy"].map((key) => [key, element("span", { class: "small" })]),
  );
  Object.assign(cells, { tick, state: element("span"), bar: element("progress", { max: 1 }) });
  for (const key of ["error", "cost", "spent", "workers", "started"]) cells[key] = element("span");
  name.append(cells.strategy, cells.problem);
  cells.stop = element("button", { type: "button", class: "stop", "aria-label": `Stop ${run.key}` }, "Stop");
  cells.bar.setAttribute("aria-label", `trainings of ${run.key}`);
  const columns = [
    ["run", element("label", {}, tick, name)],
    ["state", cells.state],
    ["trainings", cells.bar, cells.done],
    ["error of the best", cells.error, cells.unit],
    ["its cost", cells.cost, cells.cost_unit],
    ["time", cells.spent, cells.left],
    ["workers", cells.workers, cells.busy],
    ["started", cells.started],
    ["", cells.stop],
  ];
  cells.row = element("tr", {}, ...columns.map(([label, ...parts]) => element("td", { "data-label": label }, ...parts)));
  tick.addEventListener("change", () => choose(run.key, tick.checked));
  cells.stop.addEventListener("click", () => askToStop(run.key));
  return cells;
}

function fill(run) {
  if (!lines.has(run.key)) lines.set(run.key, newLine(run));
  const cells = lines.get(run.key);
  for (const key of WORDS) write(cells[key], run[key]);
  write(cells.state, run.words);
  cells.state.className = `state ${run.state}`;
  cells.bar.hidden = run.share === null;
  cells.bar.value = run.share ?? 0;
  cells.bar.className = run.state;
  cells.stop.hidden = run.state !== "running";
  cells.tick.checked = chosen.has(run.key);
  cells.row.classList.toggle("chosen", chosen.has(run.key));
  for (const cell of cells.row.cells) {
    const shown = [...cell.children].some((one) => !one.hidden && (one.textContent || one.max));
    cell.classList.toggle("none", !shown);
  }
  return cells.row;
}

function fillTable(found) {
  runs = found.runs;
  const known = new Set(runs.map((run) => run.key));
  for (const [key, cells] of lines) {
    if (!known.has(key)) {
      cells.row.remove();
      lines.delete(key);
    }
  }
  if (![...chosen].some((key) => known.has(key)) && runs.length) chosen = new Set([runs[0].key]);
  const body = place("runs").tBodies[0];
  runs.map(fill).forEach((row, number) => {
    if (body.rows[number] !== row) body.insertBefore(row, body.rows[number] ?? null);
  });
  const running = runs.filter((run) => run.state === "running" || run.state === "stopping").length;
  const none = `No run in ${found.folder} yet: a search that begins there appears here.`;
  write(place("lead"), runs.length ? `${found.folder}: ${runs.length} runs, ${running} of them running` : none);
  place("hint").hidden = runs.length < 2;
  write(place("footer"), `evonas ${found.evonas}. This page asks nobody but this machine.`);
  document.title = running ? `${running} running – evonas` : "Runs – evonas";
  for (const run of runs) {
    if (watched.has(run.key) && !["running", "stopping"].includes(run.state)) {
      watched.delete(run.key);
      say(`${run.key} is ${run.words}.${run.command && ` Go on with:\n${run.command}`}`);
    }
  }
}

function table(content) {
  const side = (number) => (number >= content.names ? { class: "figure" } : {});
  const head = content.columns.map((text, n) => element("th", { scope: "col", ...side(n) }, text));
  const rows = content.rows.map((row) => element("tr", {}, ...row.map((text, n) => element("td", side(n), text))));
  const made = element("table", {}, element("caption", {}, content.title), element("thead", {}, element("tr", {}, ...head)));
  made.append(element("tbody", {}, ...rows));
  return element("div", { class: "wide" }, made, ...content.notes.map((text) => element("p", { class: "note" }, text)));
}

function newPart(key) {
  const made = element("section", { id: `part-${key}` }, element("h2"));
  for (const name of ["lines", "charts", "tables"]) made.append(element("div", { class: name }));
  return made;
}

function fillPart(part, content) {
  const [title, text, charts, tables] = part.children;
  write(title, content.title);
  const words = JSON.stringify([content.lines, content.tables]);
  if (part.dataset.words !== words) {
    part.dataset.words = words;
    text.replaceChildren(...content.lines.map((line) => element("p", {}, line)));
    tables.replaceChildren(...content.tables.map(table));
  }
  const old = new Map([...charts.children].map((figure) => [figure.dataset.key, figure]));
  const figures = content.charts.map((chart) => old.get(chart.key) ?? newFigure(chart.key));
  if (figures.some((figure, n) => charts.children[n] !== figure) || old.size !== figures.length) charts.replaceChildren(...figures);
  return content.charts.map((chart, n) => drawChart(figures[n], chart));
}

function newFigure(key) {
  const chart = element("div", { class: "chart", id: `chart-${key}`, role: "img" });
  return element("figure", { "data-key": key }, element("figcaption"), chart, element("p", { class: "note" }));
}

function drawChart(figure, chart) {
  const [title, target, note] = figure.children;
  write(title, chart.title);
  write(note, chart.note);
  target.setAttribute("aria-label", chart.title);
  // Nothing leaves the page: plotly would offer to send a chart to its maker.
  const unused = ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "sendChartToCloud"];
  const options = { displaylogo: false, responsive: true, displayModeBar: "hover", modeBarButtonsToRemove: unused, plotlyServerURL: "" };
  return Plotly.react(target, chart.data, { ...chart.layout, uirevision: [...chosen].join() }, options);
}

function goOn() {
  const known = runs.filter((run) => chosen.has(run.key) && run.command && !["running", "stopping"].includes(run.state));
  if (!known.length) return [];
  const text = known.map((run) => run.command).join("\n");
  return [element("section", { id: "go-on" }, element("h2", {}, "How to go on"), element("pre", {}, text))];
}

async function drawView() {
  const keys = runs.map((run) => run.key).filter((key) => chosen.has(key));
  const wanted = JSON.stringify(runs.filter((run) => chosen.has(run.key)).map((run) => [run.key, run.version, run.state]));
  if (wanted === drawn) return;
  const begun = performance.now();
  const found = await ask(`/api/view?${new URLSearchParams(keys.map((key) => ["run", key]))}`);
  const problems = found.problems.map((text) => element("p", { class: "problem" }, text));
  const trouble = problems.length ? [element("section", { role: "alert" }, ...problems)] : [];
  const parts = found.sections.map((content) => place(`part-${content.key}`) ?? newPart(content.key));
  place("view").replaceChildren(...trouble, ...parts, ...goOn());
  await Promise.all(parts.flatMap((part, n) => fillPart(part, found.sections[n])));
  drawn = wanted;
  document.body.dataset.milliseconds = Math.round(performance.now() - begun);
}

function choose(key, wanted) {
  chosen[wanted ? "add" : "delete"](key);
  history.replaceState(null, "", `#${[...chosen].map(encodeURIComponent).join(",")}`);
  runs.forEach(fill);
  refresh();
}

async function askToStop(key) {
  const run = runs.find((one) => one.key === key);
  const dialog = place("ask");
  write(place("ask-run"), key);
  write(place("ask-command"), run.command);
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "yes") return;
  try {
    const body = JSON.stringify({ run: key });
    await ask("/api/stop", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    watched.add(key);
    say(`${key} was asked to stop: it ends after the training in progress.`);
  } catch (error) {
    say(error.message, true);
  }
  refresh();
}

async function refresh() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    fillTable(await ask("/api/runs"));
    await drawView();
    if (place("message").classList.contains("wrong")) say("");
    document.body.dataset.ready = "yes";
  } catch (error) {
    const gone = error instanceof TypeError;
    say(gone ? "The dashboard does not answer: start it again with evonas dashboard." : error.message, true);
  }
  asking = false;
  timer = setTimeout(refresh, EVERY);
}

// The token is in a cookie now, and need not stand in the address.
history.replaceState(null, "", location.pathname + location.hash);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();
