// Evaluated in the page by test_forms.py: drives the form of each schema, and returns the claims that do not hold.
async (schemas) => {
  const { Form } = await import("/playground/form/form.js");
  const broken = [];
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const holder = document.createElement("div");
  document.body.append(holder);

  // Optional fields of a value that nobody set.
  const unasked = (value, fields, path = "") =>
    fields.flatMap((field) => {
      if (!(field.name in value)) return [];
      const inner = value[field.name];
      if (!field.required) return [`${path}${field.name}`];
      return field.fields && inner ? unasked(inner, field.fields, `${path}${field.name}.`) : [];
    });

  const options = (field) => field.options.filter((o) => o.value !== undefined && !same(o.value, field.default));
  const NUMBER = (f) => [f.min, f.max, (f.min ?? 0) + f.step, 3].find((n) => n !== undefined && n !== f.default);
  const SAMPLES = {
    text: () => "some text",
    file: () => "https://example.com/a.png",
    files: () => ["https://example.com/a.png", "https://example.com/b.png"],
    strings: () => ["one", "two"],
    json: () => ({ any: [1] }),
    switch: (field) => !field.default,
    number: NUMBER,
    range: NUMBER,
    choice: (field) => options(field)[0]?.value,
    size: (field) => options(field)[0]?.value,
    list: (field) => [sample({ kind: "object", fields: field.item })],
    object: (field) => sample(field),
  };
  function sample(field) {
    if (field.kind !== "object") return SAMPLES[field.kind]?.(field);
    const values = field.fields.map((part) => [part.name, sample(part)]);
    return Object.fromEntries(values.filter(([, value]) => value !== undefined));
  }

  // Clears a field as a user does, with the controls that it has.
  const CLEAR = {
    choice: (node) => node.querySelector('select, input[value=""]'),
    size: (node) => node.querySelector('input[value=""]'),
  };
  function clear(control) {
    const { node, field } = control;
    const target = CLEAR[field.kind]?.(node);
    if (target?.matches("select")) target.value = "";
    else if (target) target.click();
    else if (["list", "object", "files", "file"].includes(field.kind))
      while (node.querySelector('[aria-label^="Remove"]:not([hidden])')) node.querySelector('[aria-label^="Remove"]:not([hidden])').click();
    else for (const input of node.querySelectorAll("input:not([type=range]), textarea")) input.value = "";
  }

  for (const [name, schema] of Object.entries(schemas)) {
    const check = (claim, holds, ...more) => holds || broken.push([name, claim, ...more].map(String).join(" | "));
    const form = new Form(schema, holder);
    const untouched = JSON.parse(JSON.stringify(form.read()));
    const fields = form.controls.map((control) => control.field);
    check("an untouched form sends no optional field", !unasked(untouched, fields).length, unasked(untouched, fields));
    for (const control of form.controls) {
      const { field } = control;
      if (field.kind === "fixed") continue;
      const value = sample(field);
      if (value === undefined || same(value, field.default)) continue;
      control.write(value);
      const read = form.read()[field.name];
      check("a field that was set is sent as it was set", same(read, value), field.name, JSON.stringify(read), JSON.stringify(value));
      if (!field.required && field.default === undefined) {
        clear(control);
        check("a field that was cleared is not sent", !(field.name in form.read()), field.name, field.kind, JSON.stringify(form.read()[field.name]));
      }
      control.write(undefined);
      check("a field can be taken back to its default", same(form.read(), untouched), field.name, field.kind, JSON.stringify(form.read()[field.name]));
    }
  }
  holder.remove();
  return broken;
}
