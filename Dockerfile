# One image for the app, the workers and the command line: which of them runs is the container's command.
FROM python:3.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /srv/meshlab

# The dependencies first, in a layer of their own: they change far less often than the code.
COPY requirements/ requirements/
RUN pip install --only-binary :all: --require-hashes -r requirements/uv.txt \
    && uv pip install --system --no-cache --compile-bytecode --only-binary :all: --require-hashes -r requirements/app.txt

COPY . .
RUN uv pip install --system --no-cache --no-deps --no-build-isolation --editable . \
    && useradd --create-home --uid 10001 meshlab \
    && install --directory --owner meshlab runs

USER meshlab
# In a container the app listens to the network; what reaches it is for docker-compose.yml to say.
ENV STREAMLIT_SERVER_ADDRESS=0.0.0.0 STREAMLIT_SERVER_HEADLESS=true STREAMLIT_BROWSER_SERVER_ADDRESS=localhost
EXPOSE 8501
CMD ["streamlit", "run", "app.py"]
