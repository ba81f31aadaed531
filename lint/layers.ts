/** Repository lint: the sans-IO rule and the import table of DESIGN.md section 1, enforced. */

/** Folders that hold pure machines; whole, or by file where a folder holds both kinds. */
const PURE = /\/(core|proto|wg|traversal)\//;
/** Globals that read the clock, the entropy pool or the machine. */
const IMPURE = new Set([
  "Deno",
  "performance",
  "setTimeout",
  "setInterval",
  "queueMicrotask",
  "fetch",
  "crypto",
  "Date",
  "console",
]);
/** Folder -> folders that it may import from. `tests`, `bench`, `examples` and `scripts` may import anything. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  core: [],
  proto: ["core"],
  wg: ["core"],
  traversal: ["core"],
  io: ["core"],
  discovery: ["core", "proto", "traversal", "io"],
  relay: ["core", "traversal", "io"],
  agent: ["core", "proto", "wg", "traversal", "discovery", "io"],
  cli: ["core", "agent", "discovery", "relay"],
};
const ROOT = new URL("../", import.meta.url).pathname;

/** The top folder of a file in this repository, or `undefined` for files at the top and outside. */
function folderOf(path: string): string | undefined {
  if (!path.startsWith(ROOT)) return undefined;
  const parts = path.slice(ROOT.length).split("/");
  return parts.length > 1 ? parts[0] : undefined;
}

const plugin: Deno.lint.Plugin = {
  name: "layers",
  rules: {
    "sans-io": {
      create(context): Deno.lint.LintVisitor {
        if (!PURE.test(context.filename) || /_test\.ts$|\/testing\//.test(context.filename)) {
          return {};
        }
        return {
          Identifier(node): void {
            const parent = node.parent;
            if (
              parent.type === "MemberExpression" && parent.property === node && !parent.computed
            ) {
              return;
            }
            if (parent.type.startsWith("TS") || parent.type === "Property") return;
            if (IMPURE.has(node.name)) {
              context.report({
                node,
                message: `\`${node.name}\` in a sans-IO module`,
                hint: "Take it as an argument (Clock, Rng) or move the code to io/.",
              });
            }
          },
          'MemberExpression[object.name="Math"][property.name="random"]'(
            node: Deno.lint.MemberExpression,
          ): void {
            context.report({
              node,
              message: "`Math.random` in a sans-IO module",
              hint: "Take an Rng.",
            });
          },
          "FunctionDeclaration[async=true]"(node: Deno.lint.FunctionDeclaration): void {
            context.report({ node, message: "`async` in a sans-IO module" });
          },
        };
      },
    },
    "import-direction": {
      create(context): Deno.lint.LintVisitor {
        const from = folderOf(context.filename);
        const allowed = from === undefined ? undefined : MAY_IMPORT[from];
        if (allowed === undefined || context.filename.endsWith("_test.ts")) return {};
        function check(source: { readonly value: string } | null): void {
          if (source === null || !source.value.startsWith(".")) return;
          const target = new URL(source.value, `file://${context.filename}`).pathname;
          const to = folderOf(target);
          if (to === from || (to !== undefined && allowed?.includes(to))) return;
          context.report({
            node: source as unknown as Deno.lint.Node,
            message: `\`${from}\` must not import from \`${to ?? target.slice(ROOT.length)}\``,
            hint: "The table is in DESIGN.md section 1 and lint/layers.ts.",
          });
        }
        return {
          ImportDeclaration: (node) => check(node.source),
          // `import("./x.ts")`, also as `import("./x.ts" as string)`.
          ImportExpression({ source }): void {
            const path = source.type === "TSAsExpression" ? source.expression : source;
            if (path.type === "Literal" && typeof path.value === "string") {
              check(path as unknown as { readonly value: string });
            }
          },
          ExportAllDeclaration: (node) => check(node.source),
          ExportNamedDeclaration: (node) => check(node.source),
        };
      },
    },
  },
};

export default plugin;
