import { render } from "preact";
import { App } from "./app";
import { Arena } from "./arena";
import "./style/base.css";
import "./style/layout.css";
import "./style/answer.css";
import "./style/composer.css";
import "./style/markdown.css";
import "./style/drawer.css";
import "./style/arena.css";
import "./style/arena-results.css";
import "./style/adapt.css";

const arena = /^\/arena\/?$/.test(location.pathname);
render(arena ? <Arena /> : <App />, document.getElementById("page")!);
