// Parts of the page that only show: figures, refusals, users, waits, jobs and workers.

import { byId, el } from "../playground/dom.js";
import { clock, count, plural, since, units, userName, wait } from "./format.js";
import { showShares, showTable } from "./tables.js";

export function showFigures({ requests, refusals, spend, jobs, fal }) {
  const share = requests.total ? `${((100 * requests.answered) / requests.total).toFixed(1)} % answered` : "none so far";
  const worst = refusals[0] ? `most: ${refusals[0].error_type}` : "none so far";
  const problems = requests.refused + requests.failed;
  const figures = [
    ["Requests", count(requests.total), share],
    ["Refused and failed", count(problems), worst, requests.failed ? "bad" : ""],
    ["Spend", spend === null ? "–" : units(spend.used + spend.reserved), spend === null ? "the ledger does not answer" : spendNote(spend)],
    ["Live jobs", jobs === null ? "–" : count(jobs.live), jobs === null ? "the ledger does not answer" : "queued, running or unsettled"],
    ["fal p50", wait(fal.p50), `p99 ${wait(fal.p99)}`],
  ];
  byId("figures").replaceChildren(
    ...figures.map(([name, value, note, kind]) =>
      el("div", { class: "card figure" }, el("dt", { text: name }), el("dd", {}, el("b", { class: kind, text: value }), el("span", { text: note }))),
    ),
  );
}

const FIRST_JOBS = 8;
let showsAllJobs = false;

const spendNote = (spend) => `${units(spend.reserved)} of it reserved`;

export function showRefusals({ refusals }) {
  const rows = refusals.map(({ error_type, count: amount }) => ({ name: error_type, amount, text: count(amount) }));
  showShares(byId("refusals"), rows, "Nothing was refused today.");
}

export function showUsers({ spend, names }) {
  if (spend === null) {
    byId("users").replaceChildren(el("p", { class: "hint empty", text: "The ledger does not answer." }));
    return;
  }
  const rows = spend.users.map((row) => ({
    name: userName(row.user, names),
    title: names[row.user] ? `${names[row.user].issuer} ${names[row.user].subject}` : row.user,
    amount: row.used + row.reserved,
    text: `${units(row.used + row.reserved)} in ${plural(row.submits, "call")}`,
  }));
  showShares(byId("users"), rows, "Nothing was spent today.");
  const more = spend.number_of_users - rows.length;
  if (more > 0) byId("users").append(el("p", { class: "hint", text: `and ${plural(more, "user")} more` }));
}

export function showWaits({ fal }) {
  const columns = [
    { title: "Operation", value: (row) => row.action },
    { title: "Calls", kind: "number", value: (row) => count(row.calls) },
    { title: "p50", kind: "number", value: (row) => wait(row.p50) },
    { title: "p99", kind: "number", value: (row) => wait(row.p99) },
  ];
  showTable(byId("waits"), "Wait for fal by operation", columns, fal.operations, "fal was not called yet.", true);
  if (fal.operations.length) byId("waits").append(el("p", { class: "hint", text: "The last 500 calls of each operation and worker." }));
}

export function showJobs({ jobs, names, now }) {
  if (jobs === null) {
    byId("jobs").replaceChildren(el("p", { class: "hint empty", text: "The ledger does not answer." }));
    return;
  }
  const columns = [
    { title: "Job", kind: "code wide", value: (row) => row.id },
    { title: "Endpoint", kind: "endpoint-id", value: (row) => row.endpoint },
    { title: "User", kind: "code", value: (row) => userName(row.user, names) },
    { title: "State", value: (row) => (row.is_job ? row.state : "call under way") },
    { title: "Reserved", kind: "number", value: (row) => units(row.reserved) },
    { title: "Age", kind: "number", value: (row) => since(row.created_at, now) },
  ];
  const rows = showsAllJobs ? jobs.newest : jobs.newest.slice(0, FIRST_JOBS);
  showTable(byId("jobs"), "Live jobs", columns, rows, "No job is live.");
  const older = jobs.live - jobs.newest.length;
  if (showsAllJobs && older > 0) byId("jobs").append(el("p", { class: "hint", text: `and ${count(older)} older` }));
  byId("more-jobs").hidden = rows.length === jobs.newest.length;
  byId("more-jobs").textContent = `Show ${count(jobs.newest.length)} of ${count(jobs.live)}`;
}

/** Shows all jobs of *data* from now on. */
export function showAllJobs(data) {
  showsAllJobs = true;
  showJobs(data);
}

export function showWorkers({ workers, now }) {
  const columns = [
    { title: "Process", kind: "code", value: (row) => String(row.pid) },
    { title: "Up", value: (row) => since(row.started_at, now) },
    { title: "Requests since the start", kind: "number", value: (row) => count(row.requests) },
    { title: "Under way", kind: "number", value: (row) => count(row.active) },
    { title: "Streams", kind: "number", value: (row) => count(row.streams) },
    { title: "Connections", kind: "number", value: (row) => count(row.connections) },
  ];
  showTable(byId("workers"), "Workers", columns, workers, "No worker answers.");
}

export function showReload({ reload }) {
  const texts = {
    none: "Read at the start; no reload since.",
    applied: `Generation ${reload.generation}, applied at ${reload.at && clock(reload.at)}.`,
    refused: `The reload at ${reload.at && clock(reload.at)} was refused, and generation ${reload.generation} stays: ${reload.reason}`,
  };
  byId("reload").textContent = texts[reload.result];
  byId("reload").classList.toggle("error", reload.result === "refused");
}
