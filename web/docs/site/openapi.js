/** Writes docs/openapi.yaml as a page of Markdown, so that it has the site's look and search. */

import { parse } from "yaml";

/** @param {string} yaml @returns {string} */
export function openapiPage(yaml) {
  const api = parse(yaml);
  const follow = (value) => (value?.$ref ? value.$ref.slice(2).split("/").reduce((node, key) => node[key], api) : value);
  const cell = (text = "") => String(text).trim().replaceAll(/\s*\n\s*/g, " ").replaceAll("|", "\\|");
  const table = (head, rows) => rows.length === 0 ? "" :
    [`| ${head.join(" | ")} |`, `|${"---|".repeat(head.length)}`, ...rows.map((row) => `| ${row.map(cell).join(" | ")} |`)].join("\n");

  /** Describes a type in one line. */
  function type(schema) {
    if (schema === undefined || Object.keys(schema).length === 0) return "anything";
    if (schema.$ref) {
      const name = schema.$ref.split("/").at(-1);
      return `[${name}](#${name.toLowerCase()})`;
    }
    if (schema.const !== undefined) return `\`${schema.const}\``;
    if (schema.enum) return schema.enum.map((one) => `\`${one}\``).join(", ");
    const of = schema.oneOf ?? schema.anyOf;
    if (of) return of.map(type).join(" or ");
    if (schema.type === "array") return `list of ${type(schema.items)}`;
    return [[schema.type ?? "anything"].flat().join(" or "), schema.format && `(${schema.format})`, schema.pattern && `\`${schema.pattern}\``, schema.default !== undefined && `default \`${schema.default}\``]
      .filter(Boolean).join(" ");
  }

  function operation(path, method, { summary, description, parameters = [], requestBody, responses }) {
    const answers = Object.entries(responses).map(([status, response]) => {
      const { description, headers = {}, content = {} } = follow(response);
      const forms = Object.entries(content).map(([media, { schema }]) => `\`${media}\`${schema?.$ref ? `: ${type(schema)}` : ""}`);
      return [`\`${status}\``, description, Object.keys(headers).map((name) => `\`${name}\``).join(", "), forms.join("<br>")];
    });
    return [
      `### ${summary}`,
      `\`\`\`http\n${method.toUpperCase()} ${path}\n\`\`\``,
      description,
      table(["parameter", "in", "type", "meaning"], parameters.map(follow).map(({ name, in: where, required, schema, description }) =>
        [`\`${name}\`${required ? " (required)" : ""}`, where, type(schema), description])),
      requestBody && `**Body** (${Object.keys(follow(requestBody).content).map((media) => `\`${media}\``).join(", ")}): ${cell(follow(requestBody).description)}`,
      table(["status", "meaning", "headers", "body"], answers),
    ];
  }

  function schema([name, given]) {
    const { description, properties, required = [], example, examples } = given;
    return [
      `### ${name}`,
      description,
      properties ? "" : `Type: ${type(given)}`,
      table(["field", "type", "meaning"], Object.entries(properties ?? {}).map(([field, value]) =>
        [`\`${field}\`${required.includes(field) ? "" : " (optional)"}`, type(value), value.description ?? follow(value).description])),
      example !== undefined && `\`\`\`json\n${JSON.stringify(example, null, 2)}\n\`\`\``,
      !properties && examples && `Examples: ${examples.map((one) => `\`${one}\``).join(", ")}`,
    ];
  }

  const { components } = api;
  return [
    "# HTTP API",
    `This page shows [openapi.yaml](/openapi.yaml), version ${api.info.version}, which tools read. [The protocol](protocol.md) is normative.`,
    api.info.description,
    ...api.tags.flatMap((tag) => [
      `## ${tag.description}`,
      ...Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods)
        .filter(([, { tags }]) => tags?.includes(tag.name))
        .flatMap(([method, given]) => operation(path, method, given))),
    ]),
    "## Types",
    ...Object.entries(components.schemas).flatMap(schema),
    "## Headers of responses",
    table(["header", "type", "meaning"], Object.entries(components.headers ?? {}).map(([name, value]) => [`\`${name}\``, type(value.schema), value.description])),
  ].filter(Boolean).join("\n\n") + "\n";
}
