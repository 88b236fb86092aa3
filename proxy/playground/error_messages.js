// Messages for errors: the meaning for the user and the next step.

/** `{title, text, todo, wait}`: *wait* is in seconds, where a retry makes sense after it. */
export function describeError(error, now = Date.now()) {
  if (error.cancelled)
    return {
      title: "Cancelled",
      text: "The job was stopped. “What is left” shows what it cost.",
      calm: true,
    };
  if (error.uploading)
    return {
      title: "The picture could not be uploaded",
      text: "The gateway admitted it, but the upload host rejected it.",
      todo: "No job was started. Trying again is safe.",
    };
  const body = error.body ?? {};
  const detail = typeof body.detail === "string" ? body.detail : body.message || error.message;
  const wait = error.retryAfter ?? undefined;
  switch (error.status) {
    case 400:
      return { title: "The gateway could not read this request", text: detail };
    case 401:
      return {
        title: "Your session has ended",
        text: "The gateway no longer accepts this session.",
        todo: "Sign in again; what you set here stays.",
        signIn: true,
      };
    case 402:
      return spent(body, now);
    case 403:
      return {
        title: "Not allowed for you",
        text: detail,
        todo: "The operator of this gateway decides which endpoints and actions are open.",
      };
    case 404:
      return {
        title: "This job is not there",
        text: "It does not exist, is no longer stored, or belongs to another user. All three look the same on purpose.",
      };
    case 413:
      return { title: "Too large", text: detail, todo: "Choose a smaller picture." };
    case 422:
      return { title: "The model did not take this", text: detail };
    case 429:
      return busy(body, detail, wait);
    case 499:
      return { title: "Cancelled", text: "The job was stopped before it was done." };
    case 502:
      return {
        title: "No good answer from the model's side",
        text: "The gateway could not read the answer of the model's side.",
        todo: "Asking again is safe.",
      };
    case 503:
      return {
        title: "Not available right now",
        text: "Nothing was sent to the model, and nothing was taken from your allowance.",
        todo: "It is safe to run this again.",
        wait,
      };
    case 504:
      return unknown(body);
    default:
      return other(error, detail);
  }
}

function spent(body, now) {
  const budget = body.budget;
  if (!budget) return { title: "Your allowance is spent", text: body.detail };
  const left = `${amount(budget.left)} of ${amount(budget.limit)} credits are left in “${budget.name}”, and this run takes more.`;
  // No renewal time: the run costs more than the whole budget.
  const renews = budget.renews_at
    ? ` It is full again ${until(budget.renews_at, now)}.`
    : " That is more than the whole of it, so waiting will not help.";
  return {
    title: "Your allowance does not cover this",
    text: left + renews,
    todo: "Nothing was sent and nothing was taken. Fewer pictures, fewer steps or a smaller size cost less.",
  };
}

function busy(body, detail, wait) {
  if (body.error_type === "too_many_jobs")
    return {
      title: "You have as many jobs as you may have at once",
      text: detail,
      todo: "Run this again when one of them has ended.",
      wait,
    };
  return {
    title: "Too many requests",
    text: detail,
    todo: "The gateway counts requests in short windows; refused requests are not counted.",
    wait,
  };
}

function unknown(body) {
  if (body.error_type !== "outcome_unknown")
    return {
      title: "It took too long",
      text: body.detail ?? "There was no answer in time.",
      todo: "Try again later.",
    };
  return {
    title: "It may be running, and we cannot know",
    text: "The gateway sent the request, but received no answer. It may run and be paid for, so nothing sends it again automatically.",
    todo: "Check what is left of your allowance before you run it again: the amount stays reserved until the outcome is known.",
  };
}

function other(error, detail) {
  if (error instanceof TypeError)
    return {
      title: "The gateway cannot be reached",
      text: "No connection to the gateway.",
      todo: "Check that it is running, then try again.",
    };
  if (error.status >= 500)
    return {
      title: "The model failed",
      text: detail,
      todo: "Trying again is safe; “What is left” shows whether this was charged.",
    };
  return { title: "That did not work", text: detail };
}

/** fal's `detail` list as `[{loc, message}]`, without the leading `body`. */
export function fieldErrors(error) {
  const detail = error.body?.detail;
  if (error.status !== 422 || !Array.isArray(detail)) return [];
  return detail.map(({ loc, msg }) => ({ loc: loc[0] === "body" ? loc.slice(1) : loc, message: msg }));
}

export const amount = (number) => new Intl.NumberFormat("en", { maximumFractionDigits: 2 }).format(number);

/** "in 5 h" and the like, with the time of day. */
export function until(moment, now = Date.now()) {
  const date = new Date(moment);
  const minutes = Math.max(1, Math.round((date - now) / 60_000));
  const away =
    minutes < 90
      ? `in ${minutes} min`
      : minutes < 48 * 60
        ? `in ${Math.round(minutes / 60)} h`
        : `in ${Math.round(minutes / 1440)} days`;
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }).format(date);
  return `${away} (${clock})`;
}
