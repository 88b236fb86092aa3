// Limits of the caller: budgets with what is reserved, jobs in flight, and the tightest window of requests.
import { el } from "../dom.js";
import { amount, until } from "../job/error_messages.js";

/** Fills *list*. *usage* is the response of `/usage`; *window* is the rate-limit window of the last submit, or null. */
export function drawQuota(list, usage, window) {
  const rows = [
    ...usage.budgets.map(budgetRow),
    ...usage.in_flight.map(slotsRow),
    ...(window ? [windowRow(window)] : []),
  ];
  const none = el("div", {}, el("dt", { text: "Budgets and limits" }), el("dd", {}, "None is set for you."));
  list.replaceChildren(...(rows.length ? rows : [none]));
}

function budgetRow({ name, left, limit, reserved = 0, renews_at: renews }) {
  const notes = [reserved > 0 && `${amount(reserved)} reserved`, renews && `resets ${until(renews)}`];
  return limitRow({
    name: name[0].toUpperCase() + name.slice(1),
    text: `${amount(left)} of ${amount(limit)} credits`,
    left: left / limit,
    reserved: reserved / limit,
    note: notes.filter(Boolean).join(" · "),
  });
}

const slotsRow = ({ left, limit }) =>
  limitRow({ name: "Jobs at once", text: `${left} of ${limit} free`, left: left / limit });

const windowRow = ({ left, of, seconds }) =>
  limitRow({
    name: "Submits",
    text: `${left} of ${of} left`,
    left: left / of,
    note: seconds === 60 ? "this minute" : `in ${seconds} s`,
  });

function limitRow({ name, text, left, reserved = 0, note = "" }) {
  const meter = el("span", { class: left <= 0.1 ? "meter low" : "meter", "aria-hidden": "true" });
  meter.append(el("span", { class: "meter-left" }), el("span", { class: "meter-reserved" }));
  const share = (part) => String(Math.max(0, Math.min(1, part)));
  meter.style.setProperty("--part", share(left));
  meter.style.setProperty("--reserved", share(reserved));
  const value = el(
    "dd",
    {},
    el("span", { class: "left", text }),
    meter,
    note && el("span", { class: "more", text: note }),
  );
  return el("div", {}, el("dt", { text: name }), value);
}
