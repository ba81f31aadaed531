/**
 * Takes what it can from a Discovery's JSON.
 *
 * Coral's deployed service writes timestamps as numbers or objects, bytes as objects, and may grow; one odd field must not
 * cost the whole answer. Fields whose value their type cannot hold are left out.
 *
 * @module
 */
import { type DescField, type DescMessage, fromJson, type JsonValue } from "@bufbuild/protobuf";

/** Depth of messages within messages that is looked at. Ours have three. */
const DEPTH_MAX = 8;

/** Returns `json` without what `fromJson` (ignoring unknown fields) would refuse; as it is if that is nothing. */
export function sanitizeJson(schema: DescMessage, json: unknown): JsonValue {
  if (accepts(schema, json)) return json as JsonValue;
  return sanitizeMessage(schema, json, 0) ?? {};
}

function sanitizeMessage(schema: DescMessage, json: unknown, depth: number): JsonValue | undefined {
  if (schema.typeName.startsWith("google.protobuf.")) {
    return accepts(schema, json) ? json as JsonValue : undefined;
  }
  if (depth > DEPTH_MAX || typeof json !== "object" || json === null || Array.isArray(json)) {
    return undefined;
  }
  const result: { [name: string]: JsonValue } = {};
  for (const field of schema.fields) {
    const value = Object.hasOwn(json, field.jsonName)
      ? Reflect.get(json, field.jsonName)
      : Object.hasOwn(json, field.name)
      ? Reflect.get(json, field.name)
      : undefined;
    if (value === undefined || value === null) continue;
    const sane = sanitizeField(field, value, { schema, depth });
    if (sane !== undefined) result[field.jsonName] = sane;
  }
  return result;
}

/** Where a field stands. */
interface Place {
  readonly schema: DescMessage;
  readonly depth: number;
}

function sanitizeField(field: DescField, value: unknown, place: Place): JsonValue | undefined {
  switch (field.fieldKind) {
    case "message":
      return sanitizeMessage(field.message, value, place.depth + 1);
    case "list": {
      if (!Array.isArray(value)) return undefined;
      const { message } = field;
      const items = value.map((item) =>
        field.listKind === "message" && message !== undefined
          ? sanitizeMessage(message, item, place.depth + 1)
          : acceptsField(field, [item], place)
          ? item as JsonValue
          : undefined
      );
      return items.filter((item) => item !== undefined);
    }
    case "map": {
      if (typeof value !== "object" || Array.isArray(value)) return undefined;
      const entries = Object.entries(value as object)
        .filter(([key, item]) => acceptsField(field, { [key]: item }, place));
      return Object.fromEntries(entries);
    }
    default:
      return acceptsField(field, value, place) ? value as JsonValue : undefined;
  }
}

function acceptsField(field: DescField, value: unknown, { schema }: Place): boolean {
  return accepts(schema, { [field.jsonName]: value });
}

function accepts(schema: DescMessage, json: unknown): boolean {
  try {
    fromJson(schema, json as JsonValue, { ignoreUnknownFields: true });
    return true;
  } catch {
    return false;
  }
}
