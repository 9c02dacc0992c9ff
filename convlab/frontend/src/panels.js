// The style sheet of the panels comes in as a widget that shows nothing: see convlab/frontend/style.py.
export default { render: () => {} };
