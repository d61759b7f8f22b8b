/** VitePress's default theme, in the colors of the server's pages. */

import DefaultTheme from "vitepress/theme";
import "./theme.css";

export default DefaultTheme;
