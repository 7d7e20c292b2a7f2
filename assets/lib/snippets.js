// @ts-check
// A call of the API in the languages of those who call it.

// Where the service is, which need not be the root of its host.
const ROOT = new URL(".", location.href).href.replace(/\/$/, "");

/** @typedef {{ verb: string, url: string, json: string | undefined }} Call */

/**
 * The same call in four languages.
 * @param {string} verb
 * @param {string} path
 * @param {unknown} body undefined where there is none
 * @param {[name: string, value: unknown][]} required parameters of the query
 * @returns {[language: string, text: string][]}
 */
export function snippets(verb, path, body, required) {
  const set = required.map(([name, value]) => `${name}=${value}`);
  const query = set.length ? `?${set.join("&")}` : "";
  const call = {
    verb: verb.toUpperCase(),
    url: `${ROOT}${path}${query}`,
    json: body ? JSON.stringify(body, null, 2) : undefined,
  };
  return [
    ["curl", curlOf(call)],
    ["Python", pythonOf(call)],
    ["TypeScript", typeScriptOf(call)],
    ["Go", goOf(call)],
  ];
}

/** @param {Call} call */
function curlOf({ verb, url, json }) {
  const filled = url.replace(/\{(\w+)\}/g, (_, name) => `$${name.toUpperCase()}`);
  const lines = [
    `curl${verb === "GET" ? "" : ` -X ${verb}`} "${filled}"`,
    '-H "Authorization: Bearer $MIOSA_API_KEY"',
  ];
  if (json) {
    lines.push('-H "Content-Type: application/json"', `-d '${json.replaceAll("'", "'\\''")}'`);
  }
  return lines.join(" \\\n  ");
}

/** @param {Call} call */
function pythonOf({ verb, url, json }) {
  const kind = json ? ', "Content-Type": "application/json"' : "";
  const literal = json
    ?.replace(/\btrue\b/g, "True")
    .replace(/\bfalse\b/g, "False")
    .replace(/\bnull\b/g, "None")
    .replaceAll("\n", "\n    ");
  return [
    "import json, os, urllib.request",
    "",
    "request = urllib.request.Request(",
    `    ${url.includes("{") ? "f" : ""}"${url}",`,
    `    method="${verb}",`,
    `    headers={"Authorization": "Bearer " + os.environ["MIOSA_API_KEY"]${kind}},`,
    ...(literal ? [`    data=json.dumps(${literal}).encode(),`] : []),
    ")",
    "with urllib.request.urlopen(request) as reply:",
    "    print(json.load(reply))",
  ].join("\n");
}

/** @param {Call} call */
function typeScriptOf({ verb, url, json }) {
  const kind = json ? ', "Content-Type": "application/json"' : "";
  return [
    `const reply = await fetch(\`${url.replaceAll("{", "${")}\`, {`,
    `  method: "${verb}",`,
    `  headers: { Authorization: \`Bearer \${process.env.MIOSA_API_KEY}\`${kind} },`,
    ...(json ? [`  body: JSON.stringify(${json.replaceAll("\n", "\n  ")}),`] : []),
    "});",
    "console.log(await reply.json());",
  ].join("\n");
}

/** @param {Call} call */
function goOf({ verb, url, json }) {
  const names = [...url.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const address = names.length
    ? `fmt.Sprintf("${url.replaceAll("%", "%%").replace(/\{\w+\}/g, "%s")}", ${names.join(", ")})`
    : `"${url}"`;
  const packages = [
    names.length > 0 && "fmt",
    "io",
    "log",
    "net/http",
    "os",
    json && "strings",
  ].filter(Boolean);
  return [
    "package main",
    "",
    "import (",
    ...packages.map((name) => `\t"${name}"`),
    ")",
    "",
    "func main() {",
    ...names.map((name) => `\t${name} := "…"`),
    json ? `\tbody := strings.NewReader(\`${json.replaceAll("\n", "\n\t")}\`)` : null,
    `\trequest, err := http.NewRequest("${verb}", ${address}, ${json ? "body" : "nil"})`,
    "\tif err != nil {",
    "\t\tlog.Fatal(err)",
    "\t}",
    '\trequest.Header.Set("Authorization", "Bearer "+os.Getenv("MIOSA_API_KEY"))',
    json ? '\trequest.Header.Set("Content-Type", "application/json")' : null,
    "\treply, err := http.DefaultClient.Do(request)",
    "\tif err != nil {",
    "\t\tlog.Fatal(err)",
    "\t}",
    "\tdefer reply.Body.Close()",
    "\tio.Copy(os.Stdout, reply.Body)",
    "}",
  ]
    .filter((line) => line !== null)
    .join("\n");
}
