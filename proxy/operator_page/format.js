// Numbers, times and names as the page shows them.

const WHOLE = new Intl.NumberFormat("en");
const UNITS = new Intl.NumberFormat("en", { maximumFractionDigits: 4 });
const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const MINUTES = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const SHORT_KEY = 12; // digits of a user's key that tell users apart

export const count = (number) => WHOLE.format(number);
export const units = (number) => UNITS.format(number);
export const clock = (time) => CLOCK.format(new Date(time));
export const minutes = (unixSeconds) => MINUTES.format(new Date(unixSeconds * 1000));

/** A wait: milliseconds below a second, seconds above. */
export function wait(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10000 ? 2 : 1)} s`;
}

/** A span of time in its two largest parts at most. */
export function span(totalSeconds) {
  const whole = Math.max(0, Math.round(totalSeconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} days`;
}

export const since = (time, now) => span((new Date(now) - new Date(time)) / 1000);

/** A user's subject where the operator may see it, else the start of the key that `fal-proxy caller` prints. */
export function userName(key, names) {
  if (!key) return "–";
  return names[key]?.subject ?? key.slice(0, SHORT_KEY);
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
