export * from "./messaging.js"; // deprecated: import messaging.js
