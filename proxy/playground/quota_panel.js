// What is left: budgets, jobs in flight, and the tightest window of requests.
import { el } from "./dom.js";
import { amount, until } from "./error_messages.js";

/** *usage* is the response of `/usage`; *window* is the last submit's rate-limit window, or null. */
export function drawQuota(list, usage, window) {
  const budgets = usage.budgets.map((budget) =>
    line(
      budget.name[0].toUpperCase() + budget.name.slice(1),
      `${amount(budget.left)} of ${amount(budget.limit)} credits`,
      budget.left / budget.limit,
      budget.renews_at && `full again ${until(budget.renews_at)}`,
    ),
  );
  const jobs = usage.in_flight.map((seats) =>
    line("Jobs at once", `${seats.left} of ${seats.limit} free`, seats.left / seats.limit, null),
  );
  const windows = window
    ? [
        line(
          "Submits",
          `${window.left} of ${window.of} left`,
          window.left / window.of,
          `in ${window.seconds === 60 ? "a minute" : `${window.seconds} s`}`,
        ),
      ]
    : [];
  const rows = [...budgets, ...jobs, ...windows];
  list.replaceChildren(
    ...(rows.length ? rows : [el("p", { class: "hint", text: "No budget or limit is set for you." })]),
  );
}

function line(name, text, part, more) {
  const meter = el("span", { class: part <= 0.1 ? "meter low" : "meter", "aria-hidden": "true" }, el("span"));
  meter.style.setProperty("--part", String(Math.max(0, Math.min(1, part))));
  return el(
    "div",
    {},
    el("dt", { text: name }),
    el("dd", {}, el("span", { class: "left", text }), meter, more && el("span", { class: "more", text: more })),
  );
}
