// What is left: budgets, jobs in flight, and the tightest window of requests.
import { el } from "./dom.js";
import { amount, until } from "./told.js";

/** *usage* is the answer of `/usage`; *standing* the last submit's window, or null before the first. */
export function drawStanding(list, usage, standing) {
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
  const windows = standing
    ? [
        line(
          "Submits",
          `${standing.left} of ${standing.of} left`,
          standing.left / standing.of,
          `in ${standing.seconds === 60 ? "a minute" : `${standing.seconds} s`}`,
        ),
      ]
    : [];
  const rows = [...budgets, ...jobs, ...windows];
  list.replaceChildren(
    ...(rows.length ? rows : [el("p", { class: "hint", text: "No budget or limit is set for you." })]),
  );
}

function line(name, said, part, more) {
  const meter = el("span", { class: part <= 0.1 ? "meter low" : "meter", "aria-hidden": "true" }, el("span"));
  meter.style.setProperty("--part", String(Math.max(0, Math.min(1, part))));
  return el(
    "div",
    {},
    el("dt", { text: name }),
    el("dd", {}, el("span", { class: "left", text: said }), meter, more && el("span", { class: "more", text: more })),
  );
}
