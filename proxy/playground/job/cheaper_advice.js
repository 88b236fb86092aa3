// Advice for a run that costs more than is left: the fields of the form that can still be set lower.

const FIELDS = {
  num_images: "fewer images",
  num_inference_steps: "fewer steps",
  image_size: "a smaller size",
  resolution: "a lower resolution",
  duration: "a shorter duration",
};

/** Returns a sentence, or null where *form* has none of these fields or each has its least value. */
export function cheaperAdvice(form) {
  const names = form.controls.filter(canBeLower).map(({ field }) => field.name);
  const ways = Object.keys(FIELDS).filter((name) => names.includes(name)).map((name) => FIELDS[name]);
  if (!ways.length) return null;
  const text = ways.length > 1 ? `${ways.slice(0, -1).join(", ")} or ${ways.at(-1)}` : ways[0];
  return `${text[0].toUpperCase()}${text.slice(1)} may cost less.`;
}

function canBeLower(control) {
  const { field } = control;
  if (!(field.name in FIELDS)) return false;
  const value = control.read() ?? field.default;
  if (field.kind === "size") return true;
  if (field.kind === "choice") {
    const numbers = field.options.map((option) => leading(option.value)).filter((number) => !Number.isNaN(number));
    return numbers.length < 2 || leading(value) > Math.min(...numbers);
  }
  return typeof value === "number" && value > (field.min ?? 1);
}

/** Returns the number that a choice such as "8s", "720p" or "4k" begins with. */
const leading = (choice) => parseFloat(choice) * (/^[\d.]+k$/i.test(choice) ? 1000 : 1);
