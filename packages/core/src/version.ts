/** The version of the wire that this build speaks. */
export const protocolVersion = 1
