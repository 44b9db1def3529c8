"""A page to look at what a run does: the ranked gallery of an image, activation maps, swaps and interpolations.

The server is Starlette on uvicorn, the page one static file with plain CSS and JavaScript modules: seven small
packages, no build, nothing from the net. Gradio would save the HTML, but brings about forty packages (pandas among
them), takes seconds to import, copies uploads to disk, and decides itself about keyboard, narrow screens and headers.
FastAPI adds Pydantic's validation to Starlette; six small requests do not need it.

people    identity and camera of the images of a folder
gallery   the images, their features, and the search among them
uploads   images that the page sends; they stay in memory
viewer    what the page shows, computed by the run
guard     which requests are answered, and the headers of all answers
app       the requests
serving   the socket and the server
"""
