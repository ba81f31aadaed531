/** What every mesh node is started with and how often it looks around; the simulator's nodes do the same. @module */

/** Largest inner packet: fits Ethernet over IPv6 too. Each path starts with what every one carries, until more is measured. */
export const MESH_MTU = 1420;
/** Where Coral's colonies listen inside the mesh. */
export const CONNECT_PORT = 9000;
/** How often the system's interfaces are looked at where it does not tell of changes. */
export const INTERFACES_MS = 2000;
/** The same where it does. */
export const INTERFACES_RARELY_MS = 30_000;
/** How often the clocks are compared. */
export const CLOCKS_MS = 2000;
