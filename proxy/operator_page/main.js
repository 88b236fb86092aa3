// The operator page: reads the data of all workers, and shows it.

import { announce, byId } from "../playground/dom.js";
import { showRequestsChart, showSpendChart } from "./charts.js";
import { ConfigurationView } from "./configuration.js";
import { DataSource } from "./data_source.js";
import { clock, span } from "./format.js";
import { showHealth } from "./health.js";
import { RequestList } from "./requests.js";
import { showAllJobs, showFigures, showJobs, showRefusals, showReload, showUsers, showWaits, showWorkers } from "./views.js";

const RANGE_NAMES = { hour: "last hour", day: "last 24 hours" };
const requestList = new RequestList();
const configurationView = new ConfigurationView("/operator/configuration.json");
let newest = null;

function showCharts() {
  if (!newest) return;
  const range = document.querySelector("[name=range]:checked").value;
  showRequestsChart(byId("requests-chart"), newest.bars[range], RANGE_NAMES[range]);
  showSpendChart(byId("spend-chart"), newest.bars[range], RANGE_NAMES[range]);
}

function showAll(data) {
  newest = data;
  byId("about").textContent = `${data.day} (UTC) at ${data.service.origin}`;
  byId("foot-version").textContent = `fal-auth-proxy ${data.service.version}`;
  showHealth(byId("health"), data);
  showFigures(data);
  showCharts();
  for (const show of [showRefusals, showUsers, showWaits, showJobs, showWorkers, showReload]) show(data);
  requestList.update(data);
  configurationView.update(data);
  byId("main").setAttribute("aria-busy", "false");
}

function showAge({ age, paused, problem, stale }) {
  const live = byId("live");
  live.className = paused ? "live off" : stale ? "live bad" : "live";
  byId("age").textContent = paused ? "Paused" : stale ? "Stale" : age === null ? "Loading" : "Live";
  live.title = age === null ? "" : `Read ${span(age / 1000)} ago`;
  const notice = byId("stale");
  const of = newest === null ? "" : `, of ${clock(newest.now)}`;
  const message = problem === null ? "" : `These figures are stale${of}: ${problem}. The page tries again.`;
  if (notice.textContent !== message) notice.textContent = message;
  notice.hidden = problem === null || paused;
}

const source = new DataSource("/operator/data.json", { onData: showAll, onAge: showAge });

byId("range").addEventListener("change", showCharts);
byId("pause").addEventListener("click", () => {
  const paused = byId("pause").getAttribute("aria-pressed") !== "true";
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Resume" : "Pause";
  source.pause(paused);
  announce(paused ? "The figures stay as they are" : "The figures are updated again");
});
byId("more-jobs").addEventListener("click", () => showAllJobs(newest));
source.start();
