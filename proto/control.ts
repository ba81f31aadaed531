/**
 * The messages and the service description of a colony's control service, generated from `moray/control/v1/control.proto`. Apart from
 * Discovery's, since both have messages of the same name.
 *
 * @module
 */
export * from "./gen/moray/control/v1/control_pb.ts";
