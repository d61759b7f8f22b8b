export * from "./messaging.js";
export { accept, type AcceptOptions, type Call } from "./accept.js";
export { CallError, type CallErrorCode, type Tried } from "./call-error.js";
export { connect, type ConnectOptions, type Connection } from "./connect.js";
