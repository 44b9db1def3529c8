"""A page to look at what a run does: the ranked gallery of an image, activation maps, swaps and interpolations.

The server is Starlette on uvicorn, the page static files of plain HTML, CSS and JavaScript: seven packages, no build,
nothing from the net. Gradio 6 would save the HTML, but it is 52 packages, pandas among them, writes uploads to the
disk, and leaves little say in keyboard, narrow screens and headers. FastAPI adds Pydantic's validation to Starlette;
four small questions do not need it.

people    identity and camera of the images of a folder
gallery   the images, their features, and the search among them
uploads   images that the page sends; they stay in memory
viewer    what the page shows, computed by the run
guard     which requests are answered, and the headers of all answers
app       the requests
serving   the socket and the server
"""
