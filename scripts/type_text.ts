/**
 * What `deno doc --json` says of exported symbols, as text: one line per symbol or member, without documentation, places and
 * whatever else changes without a user noticing. Pure.
 *
 * @module
 */

/** A type. `value` depends on the kind. */
export interface TypeDoc {
  /** `keyword`, `typeRef`, `union` ... */
  readonly kind: string;
  /** Its text, where it is one word. */
  readonly repr?: string;
  /** Its parts. */
  readonly value?: unknown;
}

/** A parameter. */
export interface ParamDoc {
  /** `identifier`, `object`, `array`, `rest`, `assign`. */
  readonly kind: string;
  /** Its name. */
  readonly name?: string;
  /** Whether it may be left out. */
  readonly optional?: boolean;
  /** Its type. */
  readonly tsType?: TypeDoc | null;
  /** What a default is for. */
  readonly left?: ParamDoc;
  /** What a rest is. */
  readonly arg?: ParamDoc;
}

/** What functions, methods and call signatures have. */
export interface CallDoc {
  /** Parameters. */
  readonly params?: readonly ParamDoc[];
  /** Result. */
  readonly returnType?: TypeDoc | null;
  /** Result, of signatures. */
  readonly tsType?: TypeDoc | null;
  /** Type parameters. */
  readonly typeParams?: readonly TypeParamDoc[];
  /** Whether it has a body; of overloads the last one is not seen from outside. */
  readonly hasBody?: boolean;
}

/** A type parameter. */
export interface TypeParamDoc {
  /** Its name. */
  readonly name: string;
  /** What it extends. */
  readonly constraint?: TypeDoc | null;
  /** What it is if nothing is said. */
  readonly default?: TypeDoc | null;
}

/** A property or method. */
export interface MemberDoc extends CallDoc {
  /** Its name; `[Symbol.dispose]` for those. */
  readonly name: string;
  /** Whether it may be absent. */
  readonly optional?: boolean;
  /** Whether it cannot be set. */
  readonly readonly?: boolean;
  /** Whether it is the class's. */
  readonly isStatic?: boolean;
  /** `private` or `protected`. */
  readonly accessibility?: string | null;
  /** `method`, `getter` or `setter`, of classes. */
  readonly kind?: string;
  /** What a method of a class is. */
  readonly functionDef?: CallDoc;
}

/** The shape of an interface, a class or a type literal. */
export interface ShapeDoc {
  /** Properties. */
  readonly properties?: readonly MemberDoc[];
  /** Methods. */
  readonly methods?: readonly MemberDoc[];
  /** What makes one. */
  readonly constructors?: readonly MemberDoc[];
  /** What it is when it is called. */
  readonly callSignatures?: readonly CallDoc[];
  /** What it has by index. */
  readonly indexSignatures?: readonly (CallDoc & { readonly readonly?: boolean })[];
  /** What an interface (types) or a class (a name) extends. */
  readonly extends?: readonly TypeDoc[] | string | null;
  /** Type arguments of what a class extends. */
  readonly superTypeParams?: readonly TypeDoc[];
  /** What a class implements. */
  readonly implements?: readonly TypeDoc[];
  /** Type parameters. */
  readonly typeParams?: readonly TypeParamDoc[];
  /** Whether a class only serves others to extend. */
  readonly isAbstract?: boolean;
  /** The type of an alias or a variable. */
  readonly tsType?: TypeDoc | null;
}

/** An exported symbol. */
export interface SymbolDoc {
  /** Its name. */
  readonly name: string;
  /** Its declarations: several for overloads and merged ones. */
  readonly declarations: readonly {
    /** `function`, `class`, `interface`, `typeAlias`, `variable`. */
    readonly kind: string;
    /** What it is. */
    readonly def: ShapeDoc & CallDoc;
  }[];
}

/** The lines of an exported symbol: one that says what it is, and one for each member. Throws for what it does not know. */
export function symbolLines({ name, declarations }: SymbolDoc): string[] {
  const overloaded = declarations.filter(({ kind }) => kind === "function").length > 1;
  return declarations.flatMap(({ kind, def }) => {
    switch (kind) {
      case "function":
        return overloaded && def.hasBody === true ? [] : [`function ${name}${call(def)}`];
      case "typeAlias":
        return [`type ${name}${generics(def)} = ${type(def.tsType)}`];
      case "variable":
        return [`const ${name}: ${type(def.tsType)}`];
      case "interface":
      case "class":
        return [`${kind} ${name}${generics(def)}${heritage(def)}`, ...members(def)];
      default:
        throw new TypeError(`No text for ${kind} ${name}`);
    }
  });
}

function heritage(def: ShapeDoc): string {
  const args = (def.superTypeParams ?? []).length > 0
    ? `<${def.superTypeParams?.map(type).join(", ")}>`
    : "";
  const parents = typeof def.extends === "string"
    ? `${def.extends}${args}`
    : (def.extends ?? []).map(type).join(", ");
  const promises = (def.implements ?? []).map(type).join(", ");
  return `${parents === "" ? "" : ` extends ${parents}`}${
    promises === "" ? "" : ` implements ${promises}`
  }`;
}

/** The lines of what a shape has, in the order of their names. */
function members(def: ShapeDoc): string[] {
  const methods = def.methods ?? [];
  const seen = ({ accessibility }: MemberDoc): boolean => accessibility !== "private";
  const lines = [
    ...(def.constructors ?? []).filter(seen).map((it) =>
      `${access(it)}new${call({ params: it.params ?? [] })}`
    ),
    ...(def.callSignatures ?? []).map((it) => call(it)),
    ...indexes(def),
    ...(def.properties ?? []).filter(seen).map(property),
    ...methods.filter(seen)
      .filter((it) => !(isImplementation(it) && methods.some((other) => overloads(other, it))))
      .map(method),
  ];
  return lines.map((line) => `  ${line}`).sort();
}

function access({ accessibility }: MemberDoc): string {
  return accessibility === "protected" ? "protected " : "";
}

function isImplementation({ functionDef }: MemberDoc): boolean {
  return functionDef?.hasBody === true;
}

function overloads(one: MemberDoc, other: MemberDoc): boolean {
  return one !== other && one.name === other.name && !isImplementation(one);
}

function property(it: MemberDoc): string {
  return `${it.isStatic === true ? "static " : ""}${
    it.readonly === true ? "readonly " : ""
  }${it.name}${it.optional === true ? "?" : ""}: ${type(it.tsType)}`;
}

function method(it: MemberDoc): string {
  const kind = it.kind === "getter" ? "get " : it.kind === "setter" ? "set " : "";
  const prefix = `${access(it)}${it.isStatic === true ? "static " : ""}${kind}`;
  return `${prefix}${it.name}${it.optional === true ? "?" : ""}${call(it.functionDef ?? it)}`;
}

function indexes(def: ShapeDoc): string[] {
  return (def.indexSignatures ?? []).map(({ params = [], tsType, readonly }) =>
    `${readonly === true ? "readonly " : ""}[${params.map(param).join(", ")}]: ${type(tsType)}`
  );
}

function generics({ typeParams = [] }: { readonly typeParams?: readonly TypeParamDoc[] }): string {
  const texts = typeParams.map(({ name, constraint, default: otherwise }) =>
    `${name}${constraint ? ` extends ${type(constraint)}` : ""}${
      otherwise ? ` = ${type(otherwise)}` : ""
    }`
  );
  return texts.length === 0 ? "" : `<${texts.join(", ")}>`;
}

function call(def: CallDoc, arrow = ":"): string {
  const result = def.returnType ?? def.tsType;
  const params = (def.params ?? []).map(param).join(", ");
  return `${generics(def)}(${params})${result ? `${arrow} ${type(result)}` : ""}`;
}

function param(it: ParamDoc): string {
  switch (it.kind) {
    case "identifier":
      return `${it.name}${it.optional === true ? "?" : ""}${
        it.tsType ? `: ${type(it.tsType)}` : ""
      }`;
    case "object":
      return `options${it.optional === true ? "?" : ""}${it.tsType ? `: ${type(it.tsType)}` : ""}`;
    case "array":
      return `list${it.tsType ? `: ${type(it.tsType)}` : ""}`;
    case "rest":
      return `...${it.arg ? param(it.arg) : ""}${it.tsType ? `: ${type(it.tsType)}` : ""}`;
    case "assign":
      // A default is a reason why it may be left out, and the rest is the implementation's.
      return it.left ? param({ ...it.left, tsType: it.left.tsType ?? null, optional: true }) : "";
    default:
      throw new TypeError(`No text for a parameter of kind ${it.kind}`);
  }
}

/** The text of a type. */
function type(it: TypeDoc | null | undefined): string {
  if (it === null || it === undefined) return "unknown (not said)";
  const value = it.value;
  switch (it.kind) {
    case "keyword":
      return String(value);
    case "this":
      return "this";
    case "literal": {
      const { kind, ...literal } = value as { kind: string; string?: string };
      return kind === "string" ? JSON.stringify(literal.string) : it.repr ?? "";
    }
    case "typeRef": {
      const { typeName, typeParams = [] } = value as {
        typeName: string;
        typeParams?: readonly TypeDoc[] | null;
      };
      const args = typeParams ?? [];
      // What a class implements comes as [Deno.TcpConn].
      return `${typeName.replace(/^\[(.*)\]$/, "$1")}${
        args.length === 0 ? "" : `<${args.map(type).join(", ")}>`
      }`;
    }
    case "union":
      return (value as TypeDoc[]).map(type).join(" | ");
    case "intersection":
      return (value as TypeDoc[]).map(type).join(" & ");
    case "tuple":
      return `[${(value as TypeDoc[]).map(type).join(", ")}]`;
    case "array":
      return `${grouped(value as TypeDoc)}[]`;
    case "parenthesized":
      return `(${type(value as TypeDoc)})`;
    case "rest":
      return `...${type(value as TypeDoc)}`;
    case "optional":
      return `${type(value as TypeDoc)}?`;
    case "typeQuery":
      return `typeof ${(value as { typeName?: string }).typeName ?? value}`;
    case "typeOperator": {
      const { operator, tsType } = value as { operator: string; tsType: TypeDoc };
      return `${operator} ${type(tsType)}`;
    }
    case "indexedAccess": {
      const { objType, indexType } = value as { objType: TypeDoc; indexType: TypeDoc };
      return `${type(objType)}[${type(indexType)}]`;
    }
    case "fnOrConstructor": {
      const fn = value as CallDoc & { readonly constructor: boolean };
      return `${fn.constructor === true ? "new " : ""}${call(fn, " =>")}`;
    }
    case "typeLiteral": {
      const texts = members(value as ShapeDoc).map((line) => line.trim());
      return texts.length === 0 ? "{}" : `{ ${texts.join("; ")} }`;
    }
    case "typePredicate": {
      const { asserts, param: subject, type: is } = value as {
        asserts: boolean;
        param: { name?: string };
        type?: TypeDoc;
      };
      return `${asserts ? "asserts " : ""}${subject.name ?? "this"}${is ? ` is ${type(is)}` : ""}`;
    }
    default:
      throw new TypeError(`No text for a type of kind ${it.kind}`);
  }
}

function grouped(it: TypeDoc): string {
  const text = type(it);
  return ["union", "intersection", "fnOrConstructor", "typeOperator"].includes(it.kind)
    ? `(${text})`
    : text;
}
