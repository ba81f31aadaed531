/**
 * The messages and the service description of Discovery, generated from `coral/discovery/v1/discovery.proto`.
 *
 * ```ts
 * import { create, toJson } from "@bufbuild/protobuf";
 * import { LookupColonyRequestSchema } from "./mod.ts";
 *
 * const request = create(LookupColonyRequestSchema, { meshId: "reef" });
 * console.log(toJson(LookupColonyRequestSchema, request)); // { meshId: "reef" }
 * ```
 *
 * `scripts/generate_proto.ts` rebuilds `gen/` and, with `--check`, says whether it is current.
 *
 * @module
 */
export * from "./gen/coral/discovery/v1/discovery_pb.ts";
