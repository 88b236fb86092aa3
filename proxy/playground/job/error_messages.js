// Messages for errors: the meaning for the user and the next step.

const BY_STATUS = {
  400: ({ detail }) => ({ title: "The gateway could not read this request", text: detail }),
  401: () => ({
    title: "Your session has ended",
    text: "The gateway no longer accepts this session. A job that runs goes on.",
    todo: "Sign in again: your settings and your job are still there.",
    signIn: true,
  }),
  402: ({ body, now, cheaper }) => overBudget(body, now, cheaper),
  403: ({ detail }) => ({
    title: "Not allowed for you",
    text: detail,
    todo: "The operator of this gateway decides which endpoints and actions are open.",
  }),
  404: () => ({
    title: "Job not found",
    text: "It does not exist, is no longer stored, or belongs to another user. All three look the same on purpose.",
  }),
  413: ({ detail }) => ({ title: "Too large", text: detail, todo: "Use a smaller file." }),
  422: ({ detail }) => ({ title: "The model did not accept this", text: detail }),
  429: tooMany,
  502: () => ({
    title: "No readable answer from fal",
    text: "The gateway could not read fal's answer.",
    todo: "Reading it again is safe and costs nothing.",
  }),
  503: ({ body, wait }) => ({
    title: "Not available right now",
    text:
      body.error_type === "service_paused"
        ? "fal refuses the account of this gateway at the moment, so the gateway has paused. Nothing was sent to the model, and nothing was taken from your allowance."
        : "Nothing was sent to the model, and nothing was taken from your allowance.",
    todo: "It is safe to run this again.",
    wait,
  }),
  504: ({ body }) => noOutcome(body),
};

/** Returns `{title, text, todo, wait}`: *wait* is in seconds, where a retry makes sense after it. */
export function describeError(error, now = Date.now()) {
  if (error.cancelled || error.status === 499)
    return { title: "Cancelled", text: ["The job was stopped.", costSentence(error)].filter(Boolean).join(" "), calm: true };
  if (error.uploading && !error.network) return uploadFailed;
  if (error.announcing && error.status === 422) return fileRefused(error);
  if (error.unread)
    return {
      title: "No answer about your job",
      text: "The gateway gets no answer from fal at the moment. Your job goes on.",
      todo: "Checking it costs nothing.",
      check: true,
    };
  const body = error.body ?? {};
  const detail = typeof body.detail === "string" ? body.detail : body.message || error.message;
  const { cheaper, window } = error;
  const facts = { body, detail, now, cheaper, window, wait: error.retryAfter ?? undefined };
  return BY_STATUS[error.status]?.(facts) ?? other(error, detail);
}

const fileRefused = ({ body }) => ({
  title: "The gateway does not accept this file",
  text: Array.isArray(body?.detail) ? body.detail.map(({ msg }) => msg).join("; ") : body?.message,
  todo: "No job was started. Use a file of another type.",
});

const uploadFailed = {
  title: "The file could not be uploaded",
  text: "The gateway admitted it, but the upload host rejected it.",
  todo: "No job was started. Trying again is safe.",
};

function overBudget(body, now, cheaper) {
  if (!body.budget) return { title: "Your allowance is spent", text: body.detail };
  const nothing = "Nothing was sent and nothing was taken.";
  return {
    title: "Your allowance does not cover this",
    text: budgetText(body, now),
    todo: cheaper ? `${nothing} ${cheaper}` : nothing,
  };
}

/** Returns what is left in the budget that refused, the price of the run, and when the budget is full again. */
export function budgetText({ budget, detail }, now = Date.now()) {
  const price = Number(/^The price is ([\d.e+-]+),/.exec(detail)?.[1]);
  const takes = Number.isNaN(price) ? "takes more" : `takes ${amount(price)}`;
  const left = `${amount(budget.left)} of ${amount(budget.limit)} credits are left in “${budget.name}”, and this run ${takes}.`;
  // No renewal time: the run costs more than the whole budget.
  return budget.renews_at
    ? `${left} It is full again ${until(budget.renews_at, now)}.`
    : `${left} That is more than the whole of it, so waiting will not help.`;
}

/** Returns the window that refused a request. Its name is the operator's, such as "quote-user". */
export const windowText = ({ name, of, seconds }) => `The limit “${name}” allows ${of} requests in ${seconds} s.`;

function tooMany({ body, detail, wait, window }) {
  if (body.error_type === "too_many_jobs")
    return {
      title: "You have as many jobs as you may have at once",
      text: detail,
      todo: "Run this again when one of them has ended.",
      wait,
    };
  return {
    title: "Too many requests",
    text: window ? `${detail}. ${windowText(window)}` : detail,
    todo: "The gateway counts requests in short windows; refused requests are not counted.",
    wait,
  };
}

function noOutcome(body) {
  if (body.error_type !== "outcome_unknown")
    return { title: "It took too long", text: body.detail ?? "There was no answer in time.", todo: "Try again later." };
  return {
    title: "It may be running, and we cannot know",
    text: "The gateway sent the request, but received no answer. It may run and be paid for, so nothing sends it again automatically.",
    todo: "Check “Your limits” before you run it again: the amount stays reserved until the outcome is known.",
  };
}

function other(error, detail) {
  if (error.network || error instanceof TypeError)
    return {
      title: "The gateway cannot be reached",
      text: "No connection to the gateway. No job was started.",
      todo: "Check that it is running, then try again.",
    };
  if (error.status >= 500) return modelFailed(error, detail);
  return { title: "That did not work", text: detail };
}

function modelFailed(error, detail) {
  const todo = costSentence(error) ?? "“Your limits” shows whether this was charged.";
  return { title: "The model failed", text: detail, todo, again: true };
}

/** Returns what an ended job cost, null where that is not known. */
function costSentence({ price }) {
  if (price === 0) return "You were not charged.";
  return price > 0 ? `It cost ${credits(price)}.` : null;
}

/** The banner of a lost connection. *during* is "submit" or "status". */
export function describeLost(during) {
  if (during === "submit")
    return {
      title: "The gateway cannot be reached",
      text: "Your request is sent again when the connection is back. It runs only once.",
      calm: true,
    };
  return {
    title: "Connection lost, your job goes on",
    text: "The page reconnects by itself.",
    calm: true,
    check: true,
  };
}

/** Returns fal's `detail` list as `[{loc, message}]`, without the leading `body`. */
export function fieldErrors(error) {
  const detail = error.body?.detail;
  if (error.status !== 422 || error.announcing || !Array.isArray(detail)) return [];
  return detail.map(({ loc, msg }) => ({ loc: loc[0] === "body" ? loc.slice(1) : loc, message: plainMessage(msg) }));
}

const PLAIN = [
  [/^Field required$/, "Required"],
  [/^Input should be a valid (\w+).*$/, "Must be a $1"],
  [/^Input should be (.*)$/, "Must be $1"],
];

function plainMessage(message) {
  const rule = PLAIN.find(([pattern]) => pattern.test(message));
  return rule ? message.replace(...rule) : message;
}

export const credits = (number) => `${amount(number)} ${number === 1 ? "credit" : "credits"}`;

export const amount = (number) => new Intl.NumberFormat("en", { maximumFractionDigits: 2 }).format(number);

/** "in 5 h" and the like, with the time of day. */
export function until(moment, now = Date.now()) {
  const date = new Date(moment);
  const minutes = Math.max(1, Math.round((date - now) / 60_000));
  const units = minutes < 90 ? [1, "min"] : minutes < 48 * 60 ? [60, "h"] : [1440, "days"];
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }).format(date);
  return `in ${Math.round(minutes / units[0])} ${units[1]} (${clock})`;
}
