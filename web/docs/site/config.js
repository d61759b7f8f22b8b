/** How the site looks. */

/** The fragment of a heading, as GitHub makes it. docs/links_test.go does the same. */
const slugify = (text) => text.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");

const section = (text, ...items) => ({ text, items: items.map(([text, link]) => ({ text, link })) });

export default {
  title: "inbox",
  description: "A signaling server for WebRTC: a temporary mailbox over HTTP",
  head: [["link", { rel: "icon", href: "/favicon.ico" }]],
  cleanUrls: false,
  lastUpdated: false,
  ignoreDeadLinks: "localhostLinks",
  markdown: {
    anchor: { slugify, uniqueSlugStartIndex: 1 },
    // A `<` in prose is literal: no document contains HTML.
    html: false,
    languageAlias: { caddyfile: "nginx" },
    theme: { light: "github-light", dark: "github-dark" },
  },
  themeConfig: {
    search: {
      provider: "local",
      options: {
        miniSearch: { searchOptions: { combineWith: "AND" } },
        // Files of the repository can be read, and are not found.
        _render: (source, env, md) => (env.relativePath.startsWith("source/") ? "" : md.render(source, env)),
      },
    },
    outline: { level: [2, 3] },
    sidebar: [
      section("Start", ["Introduction", "/"], ["Documentation", "/documentation"]),
      section("Guides", ["Front-end developers", "/frontend"], ["From socket.io or simple-peer", "/moving"], ["PeerJS", "/peerjs"],
        ["Go developers", "/go"], ["Operators", "/running"], ["Users who log in", "/users"]),
      section("When something fails", ["Troubleshooting", "/troubleshooting"], ["Calls that connect", "/connecting"]),
      section("Reference", ["SDK", "/sdk"], ["SDK: API", "/api/"], ["Go client: API", "/go-client"], ["HTTP API", "/http-api"],
        ["Protocol", "/protocol"], ["Operations", "/operations"], ["Scaling", "/scaling"], ["Examples", "/examples"]),
      section("Inside", ["Architecture", "/architecture"], ["Stores", "/stores"], ["Pages and SDK", "/pages"], ["Performance", "/performance"],
        ["Contributing", "/contributing"], ["Publishing", "/publishing"], ["Security", "/security"], ["Changelog", "/changelog"]),
    ],
  },
};
