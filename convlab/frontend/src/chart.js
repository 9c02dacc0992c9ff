import uPlot from "uplot";

export default { render() { return uPlot; } };
