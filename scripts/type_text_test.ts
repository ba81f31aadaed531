/** The text of exported types, against what `deno doc` says of a module that has one of each. */
import { deepStrictEqual as assertEquals, throws as assertThrows } from "node:assert/strict";
import { difference, surfaceOf } from "./surface.ts";
import { symbolLines } from "./type_text.ts";

const MODULE = `
export type Named<T extends string = "a"> = { readonly [key: string]: T } | [T, ...number[]] | null;
export interface Shape<T> extends Iterable<T> {
  /** Documentation is none of it. */
  readonly size: number;
  color?: keyof T;
  area(scale?: number): T[\"valueOf\" & keyof T];
  (call: typeof limit): asserts call is 3;
}
export abstract class Base { protected constructor(name: string) {} }
export class Point extends Base implements AsyncDisposable {
  static #count = 0;
  #secret = 1;
  private hidden = 2;
  readonly x: number = 3;
  constructor(options: { x: number }, ...more: (string | undefined)[]) { super(""); }
  static of(text: string): Point;
  static of(number: number): Point;
  static of(_: unknown): Point { throw 0; }
  get y(): number { return 1; }
  set y(value: number) {}
  move({ x = 1 }: { x?: number } = {}, [first]: number[]): this { return this; }
  async [Symbol.asyncDispose](): Promise<void> {}
}
export const limit = 3;
export function over(one: 1): \"one\";
export function over(two: 2): \"two\";
export function over(it: number): string { return String(it); }
`;

const TEXT = `
class Base
  protected new(name: string)
type Named<T extends string = "a"> = { readonly [key: string]: T } | [T, ...number[]] | null
class Point extends Base implements AsyncDisposable
  [Symbol.asyncDispose](): Promise<void>
  get y(): number
  move(options?: { x?: number }, list: number[]): this
  new(options: { x: number }, ...more: (string | undefined)[])
  readonly x: number
  set y(value: number): void
  static of(number: number): Point
  static of(text: string): Point
interface Shape<T> extends Iterable<T>
  (call: typeof limit): asserts call is 3
  area(scale?: number): T["valueOf" & keyof T]
  color?: keyof T
  readonly size: number
const limit: 3
function over(one: 1): "one"
function over(two: 2): "two"
`;

Deno.test("the text of types has every member that a program sees, and nothing else", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/module.ts`, MODULE);
    assertEquals(await surfaceOf(`${folder}/module.ts`), TEXT.trim().split("\n"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a kind of symbol or type that is not known is an error, never left out", () => {
  const unknown = { name: "it", declarations: [{ kind: "enum", def: {} }] };
  assertThrows(() => symbolLines(unknown), /No text for enum it/);
  const tsType = { kind: "conditional" };
  const alias = { name: "it", declarations: [{ kind: "typeAlias", def: { tsType } }] };
  assertThrows(() => symbolLines(alias), /No text for a type of kind conditional/);
});

Deno.test("the difference names the symbol once, and each line that went or came", () => {
  const before = ["interface A", "  x: number", "  y: number", "type B = 1", "type C = 2"];
  const after = ["interface A", "  x?: number", "  y: number", "  z: number", "type C = 2"];
  assertEquals(difference(before, after), [
    "  interface A",
    "-   x: number",
    "+   x?: number",
    "+   z: number",
    "- type B = 1",
  ]);
  assertEquals(difference(after, after), []);
});
