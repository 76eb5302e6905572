import { render } from "preact";
import { App } from "./app";
import "./style/base.css";
import "./style/layout.css";
import "./style/answer.css";
import "./style/composer.css";
import "./style/markdown.css";
import "./style/drawer.css";
import "./style/adapt.css";

render(<App />, document.getElementById("page")!);
