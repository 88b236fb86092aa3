// The guide's Node example, cut out of the page and run as it stands.
import { readFileSync, writeFileSync } from "node:fs";

const page = readFileSync(new URL("../../docs/identity.md", import.meta.url), "utf8");
const code = page.match(/```js\n(import \{ SignJWT \}[\s\S]*?)```/)[1];
const file = new URL("./node_modules/.mint.mjs", import.meta.url);
writeFileSync(file, code);
const { mint } = await import(file.href);
process.stdout.write(await mint("alice"));
